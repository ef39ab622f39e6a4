// The tree map of a folder: each rectangle a file or folder, as large as its bytes, lines or centrality.
//
// What is large enough to be hit (24 px, WCAG 2.2) and to show its name is a button; what is smaller is only drawn, and a click on it
// opens its folder, where it is larger. So there are some hundred elements and not thousands.

import { html, useEffect, useMemo, useRef, useState } from '../../lib/html.js'
import { bytes, count, percent } from '../../lib/format.js'
import { squarify } from './squarify.js'

const HEAD = 24
const GAP = 2
const SMALLEST = 4
// wide enough for some letters of its name, high enough to be hit
const NAMED = 36
const HIT = 24
/** What a rectangle may stand for: how it is read from a node, and said. */
export const MEASURES = {
  bytes: { label: 'bytes', of: (node) => Number(node.bytes), say: (node) => bytes(node.bytes) },
  lines: { label: 'lines', of: (node) => Number(node.lines), say: (node) => `${count(node.lines)} lines` },
  rank: { label: 'centrality', of: (node) => node.rank, say: (node) => `rank ${percent(node.rank, 2)}` },
}

/** Rectangles of a folder and of what is in it, as deep as there is room. */
export function tilesOf(folder, path, measure, box) {
  return squarify(folder.children, measure.of, box).flatMap(({ item, x, y, width, height }) => {
    if (width < SMALLEST || height < SMALLEST) return []
    const tile = { node: item, path: path ? `${path}/${item.name}` : item.name, x, y, width: width - GAP, height: height - GAP }
    const inner = { x: x + 3, y: y + HEAD, width: width - GAP - 6, height: height - GAP - HEAD - 3 }
    const open = item.folder && item.children.length > 0 && inner.width > 56 && inner.height > 32
    return open ? [{ ...tile, open }, ...tilesOf(item, tile.path, measure, inner)] : [tile]
  })
}

/** The tile that an arrow key leads to: the nearest one in that direction. */
function neighbour(tiles, from, key) {
  const middle = ({ x, y, width, height, open }) => [x + width / 2, open ? y + HEAD / 2 : y + height / 2]
  const [fromX, fromY] = middle(from)
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key]
  let best
  for (const tile of tiles) {
    const [x, y] = middle(tile)
    const along = (x - fromX) * step[0] + (y - fromY) * step[1]
    const aside = Math.abs((x - fromX) * step[1]) + Math.abs((y - fromY) * step[0])
    const far = along + 2 * aside
    if (tile !== from && along > 1 && (!best || far < best.far)) best = { tile, far }
  }
  return best?.tile
}

/** Rectangles as the path of an SVG. */
const outline = (tiles) => tiles.map(({ x, y, width, height }) => `M${x.toFixed(1)},${y.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}h${(-width).toFixed(1)}z`).join('')

/** What is drawn without being a button: the ground of open folders, and what is too small. */
function Ground({ tiles, size, toneOf }) {
  const drawn = new Map()
  for (const tile of tiles) {
    const name = tile.open ? 'ground' : tile.node.folder ? 'closed' : `tone-${toneOf(tile)}`
    drawn.set(name, [...(drawn.get(name) ?? []), tile])
  }
  return html`<svg aria-hidden="true" width=${size.width} height=${size.height}>${[...drawn].map(([name, some]) => html`<path key=${name} class=${name} d=${outline(some)} />`)}</svg>`
}

function Tile({ tile, measure, tone, current, tabbable, onOpen, onFocus }) {
  const { node, path, x, y, width, height, open } = tile
  const said = `${path}${node.folder ? `, folder of ${count(node.files)} files` : ''}, ${measure.say(node)}`
  return html`<button type="button" class=${`tile ${node.folder ? 'tile-folder' : `tone-${tone}`} ${open ? 'tile-open' : ''}`} aria-label=${said} title=${said} data-path=${path}
      aria-current=${current ? 'true' : undefined} tabindex=${tabbable ? 0 : -1} onClick=${(event) => { event.stopPropagation(); onOpen(tile) }} onFocus=${onFocus}
      style=${{ left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${open ? HEAD : height}px` }}>
    <span>${node.name}</span></button>`
}

/** The innermost folder under a point. */
const folderAt = (tiles, x, y) => tiles.findLast((tile) => tile.node.folder && x >= tile.x && x <= tile.x + tile.width && y >= tile.y && y <= tile.y + tile.height)

/**
 * @param {{folder: object, path: string, by: keyof MEASURES, tones: Map<string, number>, opened: string, onOpen: (tile: object) => void}} props
 *   tones: the colour of each language
 */
export function TreeMap({ folder, path, by, tones, opened, onOpen }) {
  const box = useRef(null)
  const [size, setSize] = useState({ width: 0, height: 0 })
  const [focused, setFocused] = useState('')
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setSize({ width: Math.floor(contentRect.width), height: Math.floor(contentRect.height) }))
    observer.observe(box.current)
    return () => observer.disconnect()
  }, [])
  const measure = MEASURES[by]
  const tiles = useMemo(() => tilesOf(folder, path, measure, { x: 0, y: 0, ...size }), [folder, path, by, size])
  const buttons = tiles.filter(({ width, height, open }) => width >= NAMED && (open || height >= HIT))
  const toneOf = ({ node }) => tones.get(node.language) ?? 'none'
  const first = buttons.some((tile) => tile.path === focused) ? focused : buttons[0]?.path
  const move = (event) => {
    if (!event.key.startsWith('Arrow')) return
    const from = buttons.find((tile) => tile.path === event.target.dataset.path)
    const next = from && neighbour(buttons, from, event.key)
    if (!next) return
    event.preventDefault()
    box.current.querySelector(`[data-path="${CSS.escape(next.path)}"]`)?.focus()
  }
  const hit = (event) => {
    const { left, top } = box.current.getBoundingClientRect()
    const found = folderAt(tiles, event.clientX - left, event.clientY - top)
    if (found) onOpen(found)
  }
  return html`<div class="treemap" ref=${box} role="group" aria-label=${`Tree map of ${path || 'the repository'} by ${measure.label}; arrow keys move`} onKeyDown=${move} onClick=${hit}>
    ${size.width > 0 && !tiles.length && html`<p class="filler soft">Nothing here has a size by ${measure.label}.</p>`}
    <${Ground} tiles=${tiles} size=${size} toneOf=${toneOf} />
    ${buttons.map((tile) => html`<${Tile} key=${tile.path} tile=${tile} measure=${measure} tone=${toneOf(tile)} current=${tile.path === opened}
      tabbable=${tile.path === first} onOpen=${onOpen} onFocus=${() => setFocused(tile.path)} />`)}
  </div>`
}
