// Learning: what is due, what is to come, how well each domain is mastered and how sure that is, how an item is forgotten.

import { get } from '../lib/api.js'
import { Bars } from '../lib/bars.js'
import { html } from '../lib/html.js'
import { ago, clock, count, percent, short } from '../lib/format.js'
import { useRarely } from '../lib/paged.js'
import { link, route } from '../lib/router.js'
import { sheet } from '../lib/sheet.js'
import { useSignal } from '../lib/store.js'
import { useEvents } from '../lib/stream.js'
import { Empty, Heading, Loaded, State, Table } from '../lib/ui.js'
import { useLoad } from '../lib/use.js'
import { Cards } from './learning/cards.js'
import { Curve } from './learning/curve.js'
import { ForLearner } from './learning/learner.js'
import { Mastery } from './learning/mastery.js'

await sheet('./learning/learning.css', import.meta.url)

export const title = 'Learning'
const DAYS = 30
// the browser's time zone, until the mesh says that it knows none of that name: days are those of the mesh then
let zone = Intl.DateTimeFormat().resolvedOptions().timeZone
const few = (value) => (value < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value)))

function Figures({ overview, badges }) {
  const { workload, streak, sessions } = overview
  const figures = [
    ['Due now', count(workload.dueNow), workload.nextDueTime ? `the next one ${ago(workload.nextDueTime)}` : 'nothing waits'],
    ['Due this week', count(workload.dueThisWeek), `of ${count(workload.cards)} cards`],
    ['Streak', `${streak.currentDays} d`, `longest ${streak.longestDays} d${streak.activeToday ? ', active today' : ''}`],
    ['Sessions', count(sessions.completed), `${count(sessions.open)} open, ${count(overview.roundsCompleted)} rounds`],
    ['Badges', count(badges.filter(({ progress }) => progress?.earned).length), html`<a href=${link('badges', { user: overview.userId })}>of ${badges.length}, and the near ones</a>`],
  ]
  return html`<dl class="cards figures">${figures.map(([label, value, note]) => html`<div class="figure panel" key=${label}><dt>${label}</dt><dd><strong>${value}</strong><span class="soft small">${note}</span></dd></div>`)}</dl>`
}

function Forecast({ forecast }) {
  const total = forecast.days.reduce((sum, day) => sum + day.expectedReviews, 0)
  const bars = forecast.days.map(({ date, dueCards, expectedReviews }) => ({ name: date, value: expectedReviews, part: dueCards, note: `${date}: ${dueCards} due, ${few(expectedReviews)} reviews expected` }))
  return html`<section class="panel"><h2>Workload of the next ${forecast.days.length} days</h2>
    <p class="soft small">About ${few(total)} reviews. Each card is followed from its due time as recalled and as forgotten, with the probabilities of FSRS-6${forecast.cardsLeftOut ? `; ${count(forecast.cardsLeftOut)} cards are left out` : ''}.</p>
    <${Bars} label=${`Reviews expected on each of the next ${forecast.days.length} days: ${few(total)} in all`} unit="reviews" parts=${['due as it stands', 'reviews expected']} bars=${bars} format=${few} />
  </section>`
}

const sessionColumns = [
  { label: 'Session', cell: (each) => html`<span class="mono nowrap" title=${each.sessionId}>${short(each.sessionId)}</span>` },
  { label: 'State', cell: (each) => html`<${State} value=${each.state} prefix="SESSION_STATE_" tone=${each.state === 'SESSION_STATE_OPEN' ? 'warn' : 'good'} />` },
  { label: 'About', cell: (each) => each.focusArea },
  { label: 'Rounds', cell: (each) => `${each.roundsCompleted} of ${each.roundCount}`, align: 'end' },
  { label: 'Mean score', cell: (each) => (each.roundsCompleted ? percent(each.meanScore) : '–'), align: 'end' },
  { label: 'Began', cell: (each) => html`<time class="nowrap" datetime=${each.startTime} title=${clock(each.startTime)}>${ago(each.startTime)}</time>`, hide: 'small' },
]

async function inZone(path, params, options) {
  const timeZone = zone
  try {
    return await get(path, { ...params, timeZone }, options)
  } catch (refusal) {
    if (!timeZone || !refusal.violations?.some(({ field }) => field === 'time_zone')) throw refusal
    zone = ''
    return get(path, params, options)
  }
}

async function loadAll(user, signal) {
  const [overview, forecast, { rules }] = await Promise.all([
    inZone('/api/v1/training/overview', { userId: user }, { signal }),
    inZone('/api/v1/cards/forecast', { userId: user, days: DAYS }, { signal }),
    get('/api/v1/badges/rules', { userId: user }, { signal }),
  ])
  return { overview, forecast, badges: rules }
}

function Learner({ user }) {
  const { params } = useSignal(route)
  const loaded = useLoad((signal) => loadAll(user, signal), [user])
  useEvents({ types: ['training.*', 'coach.feedback.given', 'mastery.changed', 'badge.earned'], subjectPrefix: `users/${user}/` }, useRarely(loaded.reload, 1000))
  return html`<${Loaded} of=${loaded}>${({ overview, forecast, badges }) => html`<div class="stack">
    <${Figures} overview=${overview} badges=${badges} />
    <div class="halves"><${Forecast} forecast=${forecast} /><${Mastery} user=${user} domains=${overview.masteryByDomain} /></div>
    <${Cards} user=${user} key=${`${user} ${overview.roundsCompleted}`} />
    <section aria-labelledby="sessions"><h2 id="sessions">Sessions</h2>
      <${Table} caption="Sessions, open ones first" columns=${sessionColumns} rows=${[...overview.openSessions, ...overview.recentSessions]} keyOf=${(each) => each.sessionId}
        empty=${html`<${Empty} title="No session yet."></${Empty}>`} /></section>
    ${params.card && html`<${Curve} key=${params.card} user=${user} cardId=${params.card} />`}
  </div>`}</${Loaded}>`
}

export default function Learning() {
  return html`<${Heading} title="Learning" about="Memory by FSRS-6, mastery by Elo with its uncertainty.">
      <a class="button" href=${link(['calls', 'tooloo.learning.v1.LearningService', 'StartTraining'])}>Start a session</a>
    </${Heading}>
    <${ForLearner}>${(user) => html`<${Learner} user=${user} key=${user} />`}</${ForLearner}>`
}
