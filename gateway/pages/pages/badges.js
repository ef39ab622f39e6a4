// Badges: what a learner has earned, and how near the others are.

import { get, listAll } from '../lib/api.js'
import { html } from '../lib/html.js'
import { ago, clock } from '../lib/format.js'
import { useRarely } from '../lib/paged.js'
import { ProgressBar } from '../lib/progress.js'
import { sheet } from '../lib/sheet.js'
import { useEvents } from '../lib/stream.js'
import { Empty, Heading, Loaded } from '../lib/ui.js'
import { useLoad } from '../lib/use.js'
import { ForLearner } from './learning/learner.js'

await sheet('./learning/learning.css', import.meta.url)

export const title = 'Badges'
const number = (value) => new Intl.NumberFormat('en', { maximumFractionDigits: 2 }).format(value)

async function loadBadges(user, signal) {
  const [{ rules }, earned] = await Promise.all([
    get('/api/v1/badges/rules', { userId: user }, { signal }), listAll('/api/v1/badges/earned', { userId: user }, 'badges'),
  ])
  const near = rules.filter(({ progress }) => !progress?.earned).toSorted((one, other) => (other.progress?.fraction ?? 0) - (one.progress?.fraction ?? 0))
  return { near, earned: earned.toReversed() }
}

const Earned = ({ badge }) => html`<li class="panel badge earned"><span class="medal" aria-hidden="true">★</span>
  <div><strong>${badge.name}</strong><p class="soft small">${badge.description}</p>
    <time class="small" datetime=${badge.earnTime} title=${clock(badge.earnTime)}>earned ${ago(badge.earnTime)}</time></div></li>`

function Near({ rule }) {
  const { value = 0, fraction = 0 } = rule.progress ?? {}
  const text = `${number(Math.min(value, rule.target))} of ${number(rule.target)}`
  return html`<li class="panel badge"><span class="medal" aria-hidden="true">☆</span>
    <div class="grows"><strong>${rule.name}</strong><p class="soft small">${rule.problem || rule.description}</p>
      <${ProgressBar} label=${rule.name} text=${text} share=${fraction} />
      <span class="small">${text}</span></div></li>`
}

function Of({ user }) {
  const loaded = useLoad((signal) => loadBadges(user, signal), [user])
  useEvents({ types: ['badge.earned', 'coach.feedback.given', 'training.completed'] }, useRarely(loaded.reload, 1000))
  return html`<${Loaded} of=${loaded}>${({ earned, near }) => html`<div class="stack">
    <section aria-labelledby="earned"><h2 id="earned">Earned <span class="count">${earned.length}</span></h2>
      ${earned.length ? html`<ul class="cards badges">${earned.map((badge) => html`<${Earned} key=${badge.badgeId} badge=${badge} />`)}</ul>` : html`<${Empty} title="None yet.">The nearest one is first below.</${Empty}>`}</section>
    <section aria-labelledby="near"><h2 id="near">Near <span class="count">${near.length}</span></h2>
      <ul class="cards badges">${near.map((rule) => html`<${Near} key=${rule.badgeId} rule=${rule} />`)}</ul></section>
  </div>`}</${Loaded}>`
}

export default function Badges() {
  return html`<${Heading} title="Badges" about="Earned once and for ever, by rules that are data: every rule looks at the events of the mesh." />
    <${ForLearner}>${(user) => html`<${Of} user=${user} key=${user} />`}</${ForLearner}>`
}
