// Squarified tree maps (Bruls, Huizing and van Wijk, 2000): rows of rectangles as near to squares as they get, largest first.

/**
 * Divides a rectangle among values.
 * @template T
 * @param {T[]} items
 * @param {(item: T) => number} valueOf
 * @param {{x: number, y: number, width: number, height: number}} box
 * @returns {{item: T, x: number, y: number, width: number, height: number}[]}
 */
export function squarify(items, valueOf, box) {
  const sized = items.filter((item) => valueOf(item) > 0).sort((one, other) => valueOf(other) - valueOf(one))
  const total = sized.reduce((sum, item) => sum + valueOf(item), 0)
  if (!total || box.width <= 0 || box.height <= 0) return []
  const scale = (box.width * box.height) / total
  const left = sized.map((item) => ({ item, area: valueOf(item) * scale }))
  const placed = []
  let free = { ...box }
  while (left.length) {
    const side = Math.min(free.width, free.height)
    const row = [left.shift()]
    while (left.length && worst([...row, left[0]], side) <= worst(row, side)) row.push(left.shift())
    free = place(row, free, placed)
  }
  return placed
}

/** The worst ratio of sides in a row along a side of this length. */
function worst(row, side) {
  const sum = row.reduce((total, { area }) => total + area, 0)
  const largest = Math.max(...row.map(({ area }) => area))
  const smallest = Math.min(...row.map(({ area }) => area))
  return Math.max((side * side * largest) / (sum * sum), (sum * sum) / (side * side * smallest))
}

/** Puts a row along the shorter side of what is free; gives what is free then. */
function place(row, free, placed) {
  const sum = row.reduce((total, { area }) => total + area, 0)
  const across = free.width >= free.height
  const thick = sum / (across ? free.height : free.width)
  let at = across ? free.y : free.x
  for (const { item, area } of row) {
    const length = area / thick
    placed.push(across ? { item, x: free.x, y: at, width: thick, height: length } : { item, x: at, y: free.y, width: length, height: thick })
    at += length
  }
  return across ? { ...free, x: free.x + thick, width: free.width - thick } : { ...free, y: free.y + thick, height: free.height - thick }
}
