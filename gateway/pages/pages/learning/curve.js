// The forgetting curve of one card: how it was, how it will be, and the reviews on it.

import { get } from '../../lib/api.js'
import { AsTable } from '../../lib/as-table.js'
import { Chart } from '../../lib/chart.js'
import { Dialog } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago, clock, percent, word } from '../../lib/format.js'
import { setParams } from '../../lib/router.js'
import { Facts, Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

// a table says enough with every so many points
const SOME = 6
const ms = (time) => new Date(time).getTime()
const shown = (_plot, value) => (value === null || value === undefined ? '–' : percent(value))

/** Past, future, reviews and the level at which it comes due, as columns over the same times. */
export function columnsOf({ points, reviews, time, desiredRetention }) {
  const now = ms(time)
  const reviewed = new Set(reviews.slice(1).map((review) => ms(review.time)))
  const times = points.map((point) => ms(point.time))
  // of the two points at a review the first is how it was before
  const before = times.map((each, at) => reviewed.has(each) && times[at - 1] !== each)
  const lastPast = times.findLastIndex((each) => each <= now)
  return [
    times.map((each) => each / 1000),
    points.map((point, at) => (at <= lastPast ? point.retrievability : null)),
    points.map((point, at) => (at >= lastPast ? point.retrievability : null)),
    points.map((point, at) => (before[at] ? point.retrievability : null)),
    points.map(() => desiredRetention),
  ]
}

const series = [
  { label: 'was', options: { points: { show: false }, value: shown } },
  { label: 'will be', options: { points: { show: false }, dash: [6, 4], value: shown } },
  { label: 'at a review', token: 'violet', options: { width: 0, points: { show: true, size: 8 }, value: shown } },
  { label: 'comes due at', token: 'warn', options: { points: { show: false }, dash: [2, 4], value: shown } },
]
const columns = [
  { label: 'Review', cell: (review) => html`<span class="nowrap">${clock(review.time).replace(/\.\d+$/, '')}</span>` },
  { label: 'Score', cell: (review) => percent(review.score), align: 'end' },
  { label: 'Read as', cell: (review) => word(review.rating, 'RATING_') },
  { label: 'Recall expected', cell: (review) => (review.retrievability ? percent(review.retrievability) : 'first time'), align: 'end' },
  { label: 'Stability after', cell: (review) => `${review.stability.toFixed(1)} d`, align: 'end' },
]

const pointColumns = [
  { label: 'When', cell: ({ time }) => html`<span class="nowrap">${clock(time).replace(/\.\d+$/, '')}</span>` },
  { label: 'Recalled', cell: ({ retrievability }) => percent(retrievability, 1), align: 'end' },
]

function Shown({ curve }) {
  const { card, reviews } = curve
  return html`<div class="stack"><p>${card.prompt}</p>
    <${Chart} label=${`Probability of recall over time: ${percent(card.retrievability)} now; the reviews are in the table below`} data=${columnsOf(curve)} series=${series}
      format=${(value) => percent(value)} options=${{ scales: { y: { range: [0, 1] } } }} />
    <${AsTable} caption="Probability of recall over time" columns=${pointColumns} rows=${curve.points.filter((_, at) => at % SOME === 0)} keyOf=${({ time }) => time} />
    <${Facts} facts=${[
      ['Recalled now', percent(card.retrievability)], ['Due', ago(card.dueTime)], ['Stability', `${card.stability.toFixed(1)} d`], ['Difficulty', `${card.difficulty.toFixed(1)} of 10`],
      ['Reviews', card.reviews], ['Forgotten', `${card.lapses} times`], ['State', word(card.state, 'CARD_STATE_')], ['Domain', `${card.domain}, ${card.skill}`],
    ]} />
    <${Table} caption="Reviews of this card, oldest first" columns=${columns} rows=${reviews} keyOf=${(review) => review.time} /></div>`
}

export function Curve({ user, cardId }) {
  const loaded = useLoad((signal) => get(`/api/v1/cards/${encodeURIComponent(cardId)}/curve`, { userId: user }, { signal }), [user, cardId])
  return html`<${Dialog} title=${`Forgetting curve of ${cardId}`} wide onClose=${() => setParams({ card: '' })}>
    <${Loaded} of=${loaded}>${(curve) => html`<${Shown} curve=${curve} />`}</${Loaded}></${Dialog}>`
}
