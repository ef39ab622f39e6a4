// Spend over time by provider or model, what the month will come to, and what routing saved.

import { get } from '../../lib/api.js'
import { AsTable } from '../../lib/as-table.js'
import { Chart } from '../../lib/chart.js'
import { html } from '../../lib/html.js'
import { clock, count, money } from '../../lib/format.js'
import { Nothing, useEvery } from '../../lib/paged.js'
import { route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { colour } from '../../lib/theme.js'
import { Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'
import { RANGES, TOKENS, amount, loadSpend, stacked, usd } from './series.js'

const REFRESH_MS = 10_000
const EXAMPLE = { userId: 'ada', providerId: 'openai', model: 'gpt-5-mini', inputTokens: 1200, outputTokens: 350 }
const wash = (token) => () => colour(token).replace('rgb(', 'rgba(').replace(')', ', .28)')
const layerValue = (plot, _value, layer, at) => (at === null || at === undefined ? '–' : money(usd(plot.data[layer][at] - (plot.data[layer + 1]?.[at] ?? 0))))

const Figure = ({ label, value, children }) => html`<div class="figure panel"><dt>${label}</dt><dd><strong>${value}</strong>${children && html`<span class="soft small">${children}</span>`}</dd></div>`

function Forecast() {
  const loaded = useLoad((signal) => get('/api/v1/budget/forecast', {}, { signal }), [])
  if (!loaded.data) return null
  const { spent, expected, low, high, days } = loaded.data
  return html`<${Figure} label="This month" value=${money(spent)}>
    ${days ? html`expected ${money(expected)}, with 80 % between ${money(low)} and ${money(high)}` : 'a forecast comes after the first whole day'}</${Figure}>`
}

function Figures({ total }) {
  const compared = Number(total.comparedCalls)
  return html`<dl class="cards figures">
    <${Figure} label="Spent" value=${money(total.cost)}>${count(total.calls)} calls</${Figure}>
    <${Forecast} />
    <${Figure} label="Saved by routing" value=${compared ? money(total.saved) : '–'}>
      ${compared ? `against always the best model, in ${count(compared)} calls` : 'known only of calls that went through Complete'}</${Figure}>
    <${Figure} label="Tokens" value=${count(Number(total.inputTokens) + Number(total.outputTokens))}>${count(total.inputTokens)} in, ${count(total.outputTokens)} out</${Figure}>
  </dl>`
}

const columns = (whole) => [
  { label: 'What', cell: (row) => row.key || 'not said' },
  { label: 'Cost', cell: (row) => money(row.cost), align: 'end' },
  { label: 'Share', cell: (row) => `${whole ? Math.round((amount(row.cost) / whole) * 100) : 0} %`, align: 'end' },
  { label: 'Calls', cell: (row) => count(row.calls), align: 'end' },
  { label: 'Tokens in', cell: (row) => count(row.inputTokens), align: 'end', hide: 'small' },
  { label: 'Tokens out', cell: (row) => count(row.outputTokens), align: 'end', hide: 'small' },
  { label: 'Saved', cell: (row) => (Number(row.comparedCalls) ? money(row.saved) : '–'), align: 'end', hide: 'small' },
]

/** The hours or days in which anything was spent, with what each line has in it. */
const spentOnly = (times, lines) => times.map((time, at) => ({ time, values: lines.map(({ values }) => values[at]) })).filter(({ values }) => values.some(Boolean))
const timeColumns = (lines, bucket) => [
  { label: bucket, cell: ({ time }) => html`<span class="nowrap">${bucket === 'day' ? new Date(time).toISOString().slice(0, 10) : clock(time).slice(0, -7)}</span>` },
  ...lines.map(({ label }, at) => ({ label, cell: ({ values }) => money(usd(values[at])), align: 'end' })),
]

function Report({ data, range, by }) {
  const { times, rows, total, lines, csv } = data
  if (!rows.length) return html`<${Nothing} title="Nothing was spent in this time." path="budget/track" body=${EXAMPLE}><p>Completions are counted by themselves; calls made elsewhere are told:</p></${Nothing}>`
  const series = lines.map(({ label }, index) => ({ label, token: TOKENS[index], options: { fill: wash(TOKENS[index]), value: layerValue } }))
  return html`<div class="stack">
    <${Figures} total=${total} />
    <section class="panel"><h2>Spend over ${RANGES[range].label}, by ${by}</h2>
      <${Chart} label=${`Spend over time by ${by}; the table below has the sums`} data=${stacked(times, lines)} series=${series} format=${(value) => money(usd(value))} height=${260} />
      <${AsTable} caption=${`Spend over ${RANGES[range].label} by ${by}`} columns=${timeColumns(lines, RANGES[range].bucket)} rows=${spentOnly(times, lines)} keyOf=${({ time }) => time} />
    </section>
    <${Table} caption=${`Spend by ${by}, largest first`} columns=${columns(amount(total.cost))} rows=${rows} keyOf=${({ key }) => key} />
    <p><a href=${csv} download=${`spend-by-${by}.csv`}>Download as CSV</a></p>
  </div>`
}

export function Spend() {
  const { params } = useSignal(route)
  const range = params.range in RANGES ? params.range : 'day'
  const by = params.by === 'model' ? 'model' : 'provider'
  const loaded = useLoad((signal) => loadSpend({ range, by }, signal), [range, by])
  useEvery(loaded.reload, REFRESH_MS)
  const choice = (name, value, label, now) => html`<button type="button" aria-pressed=${String(value === now)} onClick=${() => setParams({ [name]: value })}>${label}</button>`
  return html`<div class="filters">
      <div class="buttons" role="group" aria-label="Time">${Object.entries(RANGES).map(([name, { label }]) => choice('range', name, label, range))}</div>
      <div class="buttons" role="group" aria-label="By">${['provider', 'model'].map((name) => choice('by', name, `by ${name}`, by))}</div>
    </div>
    <${Loaded} of=${loaded}>${(data) => html`<${Report} data=${data} range=${range} by=${by} />`}</${Loaded}>`
}
