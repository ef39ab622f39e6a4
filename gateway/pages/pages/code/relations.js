// A file between those that import it and those that it imports, as a graph, and the same as lists with its symbols.

import { get } from '../../lib/api.js'
import { html, useEffect, useMemo, useRef } from '../../lib/html.js'
import { bytes, count, word } from '../../lib/format.js'
import { layered } from '../../lib/layered.js'
import { Facts, Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const NODE = { width: 132, height: 28, gapX: 24, gapY: 6 }
const MOST = 10
const nameOf = (path) => path.split('/').at(-1)

/** Files that a file imports, each once. */
const targetsOf = ({ file, imports }) => [...new Set(imports.map(({ target }) => target))].filter((target) => target && target !== file.path)

function Graph({ data, onOpen }) {
  const { file } = data
  const before = data.importedBy.filter((path) => path !== file.path)
  const after = targetsOf(data)
  const plan = useMemo(() => {
    // one that is on both sides of the file would be a circle: it is drawn before it
    const left = before.slice(0, MOST)
    const right = after.filter((path) => !left.includes(path)).slice(0, MOST)
    return layered([...left.map((id) => ({ id, after: [] })), { id: file.path, after: left }, ...right.map((id) => ({ id, after: [file.path] }))], NODE)
  }, [data])
  if (!before.length && !after.length) return html`<p class="soft">No import of this repository leads here or from here.</p>`
  return html`<div class="relations" tabindex="0" role="group" aria-label="Files that import it, the file, files that it imports">
    <div class="relations-plan" style=${{ width: `${plan.width}px`, height: `${plan.height}px` }}>
      <svg aria-hidden="true" width=${plan.width} height=${plan.height}>${plan.edges.map(({ from, to, path }) => html`<path key=${`${from} ${to}`} d=${path} />`)}</svg>
      ${[...plan.places].filter(([id]) => !id.includes('\0')).map(([id, { x, y }]) => html`<button type="button" key=${id} class=${id === file.path ? 'here' : ''} title=${id} disabled=${id === file.path}
        style=${{ left: `${x}px`, top: `${y}px`, width: `${NODE.width}px`, height: `${NODE.height}px` }} onClick=${() => onOpen(id)}>${nameOf(id)}</button>`)}
    </div>
    ${(before.length > MOST || after.length > MOST) && html`<p class="soft small">The first ${MOST} of each side; all are in the lists.</p>`}
  </div>`
}

const Path = ({ path, onOpen }) => html`<button type="button" class="link path" onClick=${() => onOpen(path)}>${path}</button>`

const importColumns = (onOpen) => [
  { label: 'Imports', cell: (each) => html`<code>${each.module}</code>${each.name && html` <span class="soft">${each.name}</span>`}` },
  { label: 'Line', cell: (each) => each.line, align: 'end' },
  { label: 'Leads to', cell: (each) => (each.target ? html`<${Path} path=${each.target} onOpen=${onOpen} />` : html`<span class="soft">elsewhere</span>`) },
]
const symbolColumns = [
  { label: 'Symbol', cell: (each) => html`<code>${each.parent && html`<span class="soft">${each.parent}.</span>`}${each.name}</code>` },
  { label: 'Kind', cell: (each) => word(each.kind, 'SYMBOL_KIND_') },
  { label: 'Lines', cell: (each) => html`<span class="nowrap">${each.startLine}–${each.endLine}</span>`, align: 'end' },
]

function Shown({ data, onOpen }) {
  const { file, symbols, imports, importedBy, status } = data
  return html`<div class="stack">
    <${Facts} facts=${[
      ['Language', file.language], ['Size', bytes(file.bytes)], ['Lines', count(file.lines)], ['Symbols', count(file.symbols)], ['Imports', count(file.imports)], ['Imported by', count(importedBy.length)],
      ['Understood', word(file.parseState, 'PARSE_STATE_')], ['Index', status.stale ? html`<span class="warn">${status.staleDetail}</span>` : 'as it is on disk'],
    ]} />
    <${Graph} data=${data} onOpen=${onOpen} />
    ${importedBy.length > 0 && html`<details><summary>Imported by ${count(importedBy.length)} files</summary><ul class="paths">${importedBy.map((path) => html`<li key=${path}><${Path} path=${path} onOpen=${onOpen} /></li>`)}</ul></details>`}
    ${imports.length > 0 && html`<details><summary>${count(imports.length)} imports</summary>
      <${Table} caption=${`Imports of ${file.path}`} columns=${importColumns(onOpen)} rows=${imports} keyOf=${(each) => `${each.line} ${each.module} ${each.name}`} /></details>`}
    ${symbols.length > 0 && html`<${Table} caption=${`Symbols of ${file.path}`} columns=${symbolColumns} rows=${symbols} keyOf=${(each) => `${each.startLine} ${each.parent} ${each.name}`} />`}
  </div>`
}

/** One file; `onOpen` is told which other one to show. */
export function FilePanel({ repoId, path, onOpen, onClose }) {
  const loaded = useLoad((signal) => get('/api/v1/context/file', { repoId, path }, { signal }), [repoId, path])
  const box = useRef(null)
  // on a narrow screen it stands far below what was clicked
  useEffect(() => box.current.scrollIntoView({ block: 'nearest' }), [path])
  return html`<section ref=${box} class="panel file-panel" aria-labelledby="file-title">
    <header><h2 id="file-title">${path}</h2><button type="button" class="quiet" aria-label="Close the file" onClick=${onClose}>✕</button></header>
    <${Loaded} of=${loaded}>${(data) => html`<${Shown} data=${data} onOpen=${onOpen} />`}</${Loaded}>
  </section>`
}
