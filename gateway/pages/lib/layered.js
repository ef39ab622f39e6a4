// A layered drawing of a directed acyclic graph (Sugiyama, Tagawa and Toda, 1981): layers by longest path, few crossings by barycentres.

const SWEEPS = 8

/**
 * Places nodes from left to right.
 * @param {{id: string, after: string[]}[]} nodes `after` names the nodes before it
 * @param {{width: number, height: number, gapX: number, gapY: number}} size of a node and of what is between two
 * @returns {{places: Map<string, {x: number, y: number}>, edges: {from: string, to: string, path: string}[], width: number, height: number}}
 */
export function layered(nodes, { width = 168, height = 52, gapX = 56, gapY = 18 } = {}) {
  const layers = layersOf(nodes)
  const { rows, links, edges } = withBends(nodes, layers)
  order(rows, links)
  const tall = Math.max(...rows.map((row) => row.length), 1)
  const places = new Map()
  rows.forEach((row, layer) => row.forEach((id, index) => {
    const y = (index + (tall - row.length) / 2) * (height + gapY)
    places.set(id, { x: layer * (width + gapX), y })
  }))
  const drawn = edges.map(({ from, to, over }) => ({ from, to, path: pathOf([from, ...over, to], places, width, height) }))
  return { places, edges: drawn, width: Math.max(rows.length * (width + gapX) - gapX, width), height: tall * (height + gapY) - gapY }
}

/** How many nodes come before each, on the longest way. What a cycle or an unknown id would break is left at the front. */
function layersOf(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const found = new Map()
  const walk = (id, way) => {
    if (found.has(id)) return found.get(id)
    if (way.has(id)) return 0
    const before = byId.get(id).after.filter((each) => byId.has(each))
    const layer = Math.max(-1, ...before.map((each) => walk(each, new Set(way).add(id)))) + 1
    found.set(id, layer)
    return layer
  }
  nodes.forEach(({ id }) => walk(id, new Set()))
  return found
}

/** Rows of ids, one a layer; an edge over several layers gets a bend in each, so that it runs between the nodes there. */
function withBends(nodes, layers) {
  const rows = Array.from({ length: Math.max(-1, ...layers.values()) + 1 }, () => [])
  const links = []
  const edges = []
  nodes.forEach(({ id }) => rows[layers.get(id)].push(id))
  for (const { id, after } of nodes) {
    for (const from of after.filter((each) => layers.has(each))) {
      const over = []
      for (let layer = layers.get(from) + 1; layer < layers.get(id); layer++) {
        const bend = `${from}\0${id}\0${layer}`
        rows[layer].push(bend)
        over.push(bend)
      }
      const way = [from, ...over, id]
      way.slice(1).forEach((to, index) => links.push([way[index], to]))
      edges.push({ from, to: id, over })
    }
  }
  return { rows, links, edges }
}

/** Sorts each row by the mean place of its neighbours, forwards and backwards in turn. */
function order(rows, links) {
  const neighbours = [new Map(), new Map()]
  for (const [from, to] of links) {
    neighbours[0].set(to, [...(neighbours[0].get(to) ?? []), from])
    neighbours[1].set(from, [...(neighbours[1].get(from) ?? []), to])
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const back = sweep % 2
    for (const row of back ? rows.slice(0, -1).reverse() : rows.slice(1)) {
      const place = new Map(rows.flatMap((each) => each.map((id, index) => [id, (index + 0.5) / each.length])))
      const mean = (id) => {
        const near = neighbours[back].get(id) ?? [id]
        return near.reduce((sum, each) => sum + place.get(each), 0) / near.length
      }
      const means = new Map(row.map((id) => [id, mean(id)]))
      row.sort((one, other) => means.get(one) - means.get(other))
    }
  }
}

/** A smooth line from the right side of the first to the left side of the last, through the bends. */
function pathOf(way, places, width, height) {
  const points = way.map((id, index) => {
    const { x, y } = places.get(id)
    return { left: x, right: index === 0 || index < way.length - 1 ? x + width : x, y: y + height / 2 }
  })
  let text = `M${points[0].right},${points[0].y}`
  for (let index = 1; index < points.length; index++) {
    const from = points[index - 1]
    const to = points[index]
    const middle = (from.right + to.left) / 2
    text += `C${middle},${from.y} ${middle},${to.y} ${to.left},${to.y}`
    if (index < points.length - 1) text += `H${to.right}`
  }
  return text
}
