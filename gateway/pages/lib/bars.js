// A small bar chart of plain elements: one column a step, with a table of the same figures that opens below it.

import { AsTable } from './as-table.js'
import { html } from './html.js'
import { sheet } from './sheet.js'

await sheet('./bars.css', import.meta.url)

const columnsOf = (unit, parts, format) => [
  { label: 'Day', cell: ({ name }) => html`<span class="nowrap">${name}</span>` },
  ...(parts ? [{ label: parts[0], cell: ({ part }) => part, align: 'end' }] : []),
  { label: parts?.[1] ?? unit, cell: ({ value }) => format(value), align: 'end' },
]

/**
 * @param {{label: string, unit: string, bars: {name: string, value: number, part?: number, note?: string}[], every?: number, parts?: [string, string], format?: (value: number) => string}} props
 *   part: how much of a value is drawn stronger; every: how many bars have one name below them; parts: what the stronger part and the whole are called
 */
export function Bars({ label, unit, bars, every = 7, parts, format = String }) {
  const top = Math.max(...bars.map(({ value }) => value), 1)
  return html`<figure class="bars-figure">
    <div class="bars" role="img" aria-label=${label}>
      <span class="bars-top">${format(top)}</span>
      ${bars.map(({ name, value, part = 0, note }, index) => html`<span class="bar" key=${name} title=${note ?? `${name}: ${format(value)} ${unit}`}>
        <i style=${{ height: `${(value / top) * 100}%` }}><b style=${{ height: `${value ? (Math.min(part, value) / value) * 100 : 0}%` }}></b></i>
        ${index % every === 0 && html`<small>${name.slice(5)}</small>`}</span>`)}
    </div>
    ${parts && html`<figcaption class="small soft"><i class="bar-part"></i>${parts[0]} <i class="bar-rest"></i>${parts[1]}</figcaption>`}
    <${AsTable} caption=${label} columns=${columnsOf(unit, parts, format)} rows=${bars} keyOf=${({ name }) => name} />
  </figure>`
}
