// The figures of a chart as a table that opens below it: a chart says nothing to who cannot see it.

import { html } from './html.js'
import { sheet } from './sheet.js'
import { Table } from './ui.js'

await sheet('./as-table.css', import.meta.url)

/** `columns`, `rows`, `keyOf` and `onOpen` as a Table has them. */
export const AsTable = ({ caption, columns, rows, keyOf, onOpen }) => html`<details class="as-table"><summary>The same as a table</summary>
  <${Table} caption=${`${caption}, as a table`} columns=${columns} rows=${rows} keyOf=${keyOf} onOpen=${onOpen} /></details>`
