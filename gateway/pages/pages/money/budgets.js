// Budgets: how each stands, what it told, and its period so far against its limit.

import { del } from '../../lib/api.js'
import { AsTable } from '../../lib/as-table.js'
import { Chart } from '../../lib/chart.js'
import { ask, attempt } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago, day, duration, money, word } from '../../lib/format.js'
import { Nothing, Paged, usePaged, useEvery } from '../../lib/paged.js'
import { route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'
import { amount, loadPeriod, usd } from './series.js'

const EXAMPLE = { budget: { budgetId: 'everything', limit: { currencyCode: 'USD', units: '50' }, mode: 'MODE_DEGRADE' } }
const keyOf = ({ budget, holder }) => `${budget.budgetId} ${holder ?? ''}`
const shareOf = ({ budget, spent }) => amount(spent) / amount(budget.limit)
const toneOf = (share) => (share >= 1 ? 'bad' : share >= 0.8 ? 'warn' : 'good')

/** What a budget covers, in words. */
function covers({ scope = {}, each }) {
  const parts = [scope.providerId, scope.model, scope.userId && `user ${scope.userId}`, ...Object.entries(scope.labels ?? {}).map(([name, value]) => `${name} ${value}`)]
  return `${parts.filter(Boolean).join(', ') || 'everything'}${each ? `, for each ${each}` : ''}`
}

const stretch = ({ window = {} }) => (window.length ? `${word(window.kind, 'KIND_')} ${duration(window.length)}` : window.kind === 'KIND_LIFETIME' ? 'for ever' : `a ${word(window.period, 'PERIOD_')}`)

/** A bar of what is spent, with a mark at each threshold. */
export function Meter({ standing }) {
  const share = shareOf(standing)
  const shown = Math.min(share, 1.15) / 1.15
  const text = `${Math.round(share * 100)} % spent; told ${standing.toldThresholds.length ? standing.toldThresholds.map((each) => `${each} %`).join(', ') : 'nothing yet'}`
  return html`<div class="meter" role="img" aria-label=${text}>
    <span class=${`meter-fill ${toneOf(share)}`} style=${{ width: `${shown * 100}%` }}></span>
    ${standing.budget.thresholds.map((threshold) => html`<i class=${standing.toldThresholds.includes(threshold) ? 'told' : ''} style=${{ left: `${(threshold / 115) * 100}%` }} title=${`${threshold} %`}></i>`)}
  </div>`
}

const columns = [
  { label: 'Budget', cell: (each) => html`${each.budget.displayName || each.budget.budgetId}${each.holder ? ` · ${each.holder}` : ''}` },
  { label: 'Covers', cell: ({ budget }) => covers(budget), hide: 'small' },
  { label: 'Spent', cell: (each) => html`<span class="nowrap">${money(each.spent)} of ${money(each.budget.limit)}</span>`, align: 'end' },
  { label: 'Thresholds', cell: (each) => html`<${Meter} standing=${each} />` },
  { label: 'Told', cell: (each) => each.toldThresholds.map((threshold) => `${threshold} %`).join(', ') || '–', hide: 'small' },
  { label: 'When spent', cell: ({ budget }) => word(budget.mode, 'MODE_'), hide: 'small' },
  { label: 'Starts anew', cell: (each) => html`<span class="nowrap">${ago(each.periodEnd)}</span>`, hide: 'small' },
]

const spentColumns = [
  { label: 'Until the end of', cell: ({ time }) => html`<span class="nowrap">${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC</span>` },
  { label: 'Spent', cell: ({ spent }) => money(usd(spent)), align: 'end' },
]

function Period({ standing, onDeleted }) {
  const { budget } = standing
  const loaded = useLoad((signal) => loadPeriod(standing, signal), [keyOf(standing), amount(standing.spent)])
  const limit = amount(budget.limit)
  const remove = async () => {
    const sure = await ask({ title: `Delete the budget ${budget.budgetId}?`, text: 'What was spent stays recorded; nothing watches it any more.', action: 'Delete', danger: true })
    if (sure && (await attempt(() => del(`/api/v1/budgets/${budget.budgetId}`), 'The budget is deleted.'))) onDeleted()
  }
  const flat = { points: { show: false }, dash: [5, 5] }
  const series = [
    { label: 'spent', options: { value: (_plot, value) => (value === null ? '–' : money(usd(value))) } },
    { label: 'limit', token: 'bad', options: { points: { show: false } } },
    ...budget.thresholds.filter((each) => each !== 100).map((each) => ({ label: `${each} %`, token: 'warn', options: flat })),
  ]
  return html`<section class="panel" aria-labelledby="budget-title">
    <header class="heading"><div><h2 id="budget-title">${budget.displayName || budget.budgetId}</h2>
      <p class="soft">${covers(budget)}, ${stretch(budget)}: since ${day(standing.periodStart)}, ${money(standing.remaining)} left${amount(standing.reserved) ? `, ${money(standing.reserved)} of it set aside by calls that run` : ''}</p></div>
      <div class="buttons"><button type="button" class="quiet" onClick=${remove}>Delete</button></div></header>
    <${Loaded} of=${loaded}>${({ times, values }) => html`<${Chart} label=${`Spent in this period: ${money(standing.spent)} of ${money(budget.limit)}`} format=${(value) => money(usd(value))}
      series=${series} data=${[times.map((time) => time / 1000), values, times.map(() => limit), ...budget.thresholds.filter((each) => each !== 100).map((each) => times.map(() => (limit * each) / 100))]} />
      <${AsTable} caption="Spent in this period" columns=${spentColumns} rows=${times.map((time, at) => ({ time, spent: values[at] }))} keyOf=${({ time }) => time} />`}</${Loaded}>
  </section>`
}

export function Budgets() {
  const { params } = useSignal(route)
  const budgets = usePaged('/api/v1/budgets', {}, 'budgets')
  useEvery(budgets.reload, 10_000)
  const empty = html`<${Nothing} title="There is no budget." path="budget/set" body=${EXAMPLE}><p>A budget tells its thresholds, and may refuse or degrade what would pass its limit:</p></${Nothing}>`
  return html`<${Paged} of=${budgets}>${(rows) => {
    const opened = rows.find((each) => keyOf(each) === params.budget) ?? rows[0]
    return html`<div class="stack">
      <${Table} caption="Budgets by id" columns=${columns} rows=${rows} keyOf=${keyOf} opened=${opened && keyOf(opened)} onOpen=${(each) => setParams({ budget: keyOf(each) })} empty=${empty} />
      ${opened && html`<${Period} key=${keyOf(opened)} standing=${opened} onDeleted=${budgets.reload} />`}
    </div>`
  }}</${Paged}>`
}
