// Who reads the log, how far each is, and a pause for who must not go on.

import { html } from '../../lib/html.js'
import { post } from '../../lib/api.js'
import { ask, attempt } from '../../lib/dialog.js'
import { count, duration } from '../../lib/format.js'
import { link } from '../../lib/router.js'
import { Empty, Loading, State, Table } from '../../lib/ui.js'

const paused = ({ state }) => state === 'STATE_PAUSED'

async function toggle(subscription) {
  const { name } = subscription
  if (paused(subscription)) return attempt(() => post(`/api/v1/subscriptions/${name}/resume`), `${name} goes on.`)
  const sure = await ask({ title: `Pause ${name}?`, text: 'It gets nothing until it is resumed. Nothing is lost; its lag grows.', action: 'Pause' })
  return sure && attempt(() => post(`/api/v1/subscriptions/${name}/pause`), `${name} is paused.`)
}

function wordsOf({ types = [], sources = [], subjectPrefix, cel }) {
  const parts = [types.length ? types.join(', ') : 'everything', sources.length && `from ${sources.join(', ')}`, subjectPrefix && `about ${subjectPrefix}…`, cel && `where ${cel}`]
  return parts.filter(Boolean).join(' ')
}

const COLUMNS = [
  { label: 'Subscription', cell: ({ name }) => html`<strong>${name}</strong>` },
  { label: 'State', cell: ({ state }) => html`<${State} value=${state} prefix="STATE_" />` },
  { label: 'Lag', align: 'end', cell: ({ backlog }) => html`<span class=${Number(backlog) > 100 ? 'warn' : ''}>${count(backlog)}</span>` },
  { label: 'Oldest waiting', align: 'end', cell: ({ oldestUnacknowledgedAge }) => duration(oldestUnacknowledgedAge) },
  { label: 'Out now', align: 'end', hide: 'small', cell: ({ inFlight }) => count(inFlight) },
  { label: 'Members', align: 'end', hide: 'small', cell: ({ members }) => html`<span class=${members ? '' : 'warn'}>${members}</span>` },
  { label: 'Dead letters', align: 'end', cell: ({ name, deadLetters }) => html`<a class=${Number(deadLetters) ? 'bad' : ''} href=${link('events', { view: 'dead', subscription: name })}>${count(deadLetters)}</a>` },
  { label: 'Reads', hide: 'small', cell: ({ filter }) => html`<span class="soft reads">${wordsOf(filter ?? {})}</span>` },
  { label: '', align: 'end', cell: (each) => html`<button type="button" onClick=${() => toggle(each)}>${paused(each) ? 'Resume' : 'Pause'}<span class="unseen"> ${each.name}</span></button>` },
  { label: '', align: 'end', hide: 'small', cell: ({ name }) => html`<a href=${link(['calls', 'tooloo.bus.v1.EventBus', 'SeekSubscription'], { name })}>Move<span class="unseen"> ${name}</span></a>` },
]

export function Subscriptions({ subscriptions }) {
  if (!subscriptions) return html`<${Loading} />`
  return html`<${Table} caption="Subscriptions" columns=${COLUMNS} rows=${subscriptions} keyOf=${({ name }) => name}
    empty=${html`<${Empty} title="Nobody reads the log.">A subscription is made with CreateSubscription.</${Empty}>`} />`
}
