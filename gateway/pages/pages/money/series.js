// Spend over time: stretches of hours or days, filled where nothing was spent, and stacked for a chart.

import { address, get } from '../../lib/api.js'

const HOUR = 3_600_000
const MOST = 5
export const RANGES = {
  day: { label: '24 hours', ms: 24 * HOUR, bucket: 'hour', step: HOUR },
  month: { label: '30 days', ms: 30 * 24 * HOUR, bucket: 'day', step: 24 * HOUR },
  quarter: { label: '90 days', ms: 90 * 24 * HOUR, bucket: 'day', step: 24 * HOUR },
}
/** Colours of series, in order; what is left over has the last. */
export const TOKENS = ['accent', 'teal', 'violet', 'warn', 'good', 'soft']

/** google.type.Money as a number. */
export const amount = (money) => Number(money?.units ?? 0) + (money?.nanos ?? 0) / 1e9
export const usd = (value) => ({ currencyCode: 'USD', units: Math.trunc(value), nanos: Math.round((value % 1) * 1e9) })

/** Beginnings of all hours or days (UTC) of a stretch that ends now, in milliseconds. */
export function buckets(from, step, now = Date.now()) {
  const first = Math.floor(from / step) * step
  return Array.from({ length: Math.floor((now - first) / step) + 1 }, (_, index) => first + index * step)
}

/** The costs of report rows by hour or day, 0 where there is none. */
export function filled(rows, times) {
  const found = new Map(rows.map((row) => [new Date(row.start).getTime(), amount(row.cost)]))
  return times.map((time) => found.get(time) ?? 0)
}

const labelsOf = ({ providerId, model }) => [providerId && `provider=${providerId}`, model && `model=${model}`].filter(Boolean)

/** Spend of a range by provider or model: the largest each with its costs over time, and the rest together. */
export async function loadSpend({ range, by }, signal) {
  const { ms, bucket, step } = RANGES[range]
  const times = buckets(Date.now() - ms, step)
  const span = { from: new Date(times[0]).toISOString(), pageSize: 1000 }
  const report = (params) => get('/api/v1/budget/report', { ...span, ...params }, { signal })
  const [groups, whole] = await Promise.all([report({ groupBy: by }), report({ groupBy: bucket })])
  const rows = groups.rows.toSorted((one, other) => amount(other.cost) - amount(one.cost))
  // labels that are not there cannot be asked for: what was spent without a provider's name is among the others
  const named = (row) => labelsOf(row).length === (by === 'model' ? 2 : 1)
  const top = rows.filter((row) => named(row) && amount(row.cost) > 0).slice(0, MOST)
  const over = await Promise.all(top.map((row) => report({ groupBy: bucket, labels: labelsOf(row) })))
  const lines = top.map((row, index) => ({ label: row.key, values: filled(over[index].rows, times) }))
  const rest = filled(whole.rows, times).map((value, at) => Math.max(0, value - lines.reduce((sum, line) => sum + line.values[at], 0)))
  if (rest.some((value) => value > 1e-9)) lines.push({ label: 'others', values: rest })
  return { times, rows, total: groups.total, lines, csv: address('/api/v1/budget/report.csv', { from: span.from, groupBy: by }) }
}

/** Each line on top of those after it: what uPlot draws as layers, the tallest first. */
export function stacked(times, lines) {
  const layers = []
  let below = times.map(() => 0)
  for (const { values } of [...lines].reverse()) {
    below = below.map((value, at) => value + values[at])
    layers.unshift(below)
  }
  return [times.map((time) => time / 1000), ...layers]
}

/** The cost of a budget's period so far, added up, with its limit. */
export async function loadPeriod({ budget, periodStart }, signal) {
  const longest = Date.now() - 366 * 24 * HOUR
  const from = Math.max(new Date(periodStart).getTime(), longest)
  const short = Date.now() - from <= 3 * 24 * HOUR
  const { step, bucket } = short ? RANGES.day : RANGES.month
  const times = buckets(from, step)
  const { scope = {} } = budget
  const labels = [...labelsOf(scope), scope.userId && `user=${scope.userId}`, ...Object.entries(scope.labels ?? {}).map(([name, value]) => `${name}=${value}`)]
  const rows = (await get('/api/v1/budget/report', { from: new Date(from).toISOString(), groupBy: bucket, labels, pageSize: 1000 }, { signal })).rows
  let sum = 0
  const values = filled(rows, times).map((value) => (sum += value))
  // a line needs a beginning: nothing was spent when the period began
  return { times: [times[0] - step, ...times], values: [0, ...values] }
}
