// Search in a repository: files by their paths and symbols by their names.

import { get } from '../../lib/api.js'
import { html } from '../../lib/html.js'
import { bytes, count, word } from '../../lib/format.js'
import { Empty, Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const MOST = 50
const fileColumns = [
  { label: 'File', cell: (file) => html`<span class="path">${file.path}</span>` },
  { label: 'Language', cell: (file) => file.language, hide: 'small' },
  { label: 'Lines', cell: (file) => count(file.lines), align: 'end' },
  { label: 'Size', cell: (file) => html`<span class="nowrap">${bytes(file.bytes)}</span>`, align: 'end', hide: 'small' },
]
const symbolColumns = [
  { label: 'Symbol', cell: (each) => html`<code>${each.parent && html`<span class="soft">${each.parent}.</span>`}${each.name}</code>` },
  { label: 'Kind', cell: (each) => word(each.kind, 'SYMBOL_KIND_') },
  { label: 'Where', cell: (each) => html`<span class="path">${each.path}:${each.startLine}</span>` },
]

const some = (rows, more) => `${count(rows.length)}${more ? ' first ones' : ''}`

/** Files and symbols that contain a text; `onOpen` is told the path of a file. */
export function Found({ repoId, query, onOpen }) {
  const loaded = useLoad(async (signal) => {
    const [files, symbols] = await Promise.all([
      get('/api/v1/context/files', { repoId, query, pageSize: MOST }, { signal }), get('/api/v1/context/symbols', { repoId, query, pageSize: MOST }, { signal }),
    ])
    return { files, symbols }
  }, [repoId, query])
  return html`<${Loaded} of=${loaded}>${({ files, symbols }) => html`<div class="stack">
    <h2>Symbols <span class="count">${some(symbols.symbols, symbols.nextPageToken)}</span></h2>
    <${Table} caption="Symbols whose name contains the text" columns=${symbolColumns} rows=${symbols.symbols} keyOf=${(each) => `${each.path} ${each.startLine} ${each.parent} ${each.name}`}
      onOpen=${({ path }) => onOpen(path)} empty=${html`<${Empty} title="No symbol is called so."></${Empty}>`} />
    <h2>Files <span class="count">${some(files.files, files.nextPageToken)}</span></h2>
    <${Table} caption="Files whose path contains the text" columns=${fileColumns} rows=${files.files} keyOf=${({ path }) => path}
      onOpen=${({ path }) => onOpen(path)} empty=${html`<${Empty} title="No path contains it."></${Empty}>`} />
  </div>`}</${Loaded}>`
}
