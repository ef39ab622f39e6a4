// What an event followed from and what followed from it, as a tree, found in a bounded part of the log around it.

import { html, useState } from '../../lib/html.js'
import { get } from '../../lib/api.js'
import { count, duration, short } from '../../lib/format.js'
import { Loaded } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const WINDOWS = [2000, 20_000, 200_000]
// the bus stops a page at the bytes it will scan, so a wide window may take several
const MOST_PAGES = 12
const PAGE = 200

const quoted = (text) => JSON.stringify(text)

/** All that shares its request, or at least its direct cause and effects where there is no correlation. */
function expressionFor({ id, correlationId, causationId }) {
  const direct = [`causation_id == ${quoted(id)}`, `id == ${quoted(id)}`]
  if (causationId) direct.push(`id == ${quoted(causationId)}`, `causation_id == ${quoted(causationId)}`)
  if (correlationId) direct.push(`correlation_id == ${quoted(correlationId)}`, `id == ${quoted(correlationId)}`)
  return direct.join(' || ')
}

/** The related events within `width` positions to both sides: {events, from, to, whole}. */
export async function related(event, width, signal) {
  const position = Number(event.position)
  const [from, to] = [Math.max(position - width, 0), position + width]
  const filter = { cel: expressionFor(event) }
  const found = []
  let [pageToken, at, whole] = ['', from, false]
  for (let turn = 0; turn < MOST_PAGES && !whole; turn += 1) {
    const page = await get('/api/v1/events', { afterPosition: from, filter, pageSize: PAGE, pageToken }, { signal })
    found.push(...page.events.filter((each) => Number(each.position) <= to))
    at = Number(page.progressPosition)
    pageToken = page.nextPageToken
    whole = !pageToken || at >= to
  }
  return { events: found, from, to: Math.min(at, to), whole }
}

/** Roots with their effects below them; a cause that was not found makes its effect a root that says so. */
export function treeOf(events) {
  const nodes = new Map(events.map((event) => [event.id, { event, effects: [], lost: false }]))
  const roots = []
  for (const node of nodes.values()) {
    const cause = nodes.get(node.event.causationId)
    if (cause && cause !== node) cause.effects.push(node)
    else {
      node.lost = Boolean(node.event.causationId)
      roots.push(node)
    }
  }
  return roots
}

function Node({ node: { event, effects, lost }, current, start, onOpen }) {
  const own = event.position === current
  return html`<li>
    ${lost && html`<span class="soft small">its cause lies outside ↴</span>`}
    <button type="button" class=${`link cause ${own ? 'own' : ''}`} aria-current=${own ? 'true' : undefined} onClick=${() => onOpen(event)}>
      <span>${event.type}</span><span class="soft"> ${event.source} · +${duration((Date.parse(event.time) - start) / 1000)}</span></button>
    ${effects.length > 0 && html`<ul>${effects.map((each) => html`<${Node} key=${each.event.id} node=${each} current=${current} start=${start} onOpen=${onOpen} />`)}</ul>`}
  </li>`
}

export function Chain({ event, onOpen }) {
  const [step, setStep] = useState(0)
  const width = WINDOWS[step]
  const found = useLoad((signal) => related(event, width, signal), [event.position, width])
  return html`<${Loaded} of=${found}>${({ events, from, to, whole }) => {
    const roots = treeOf(events)
    const start = Math.min(...events.map(({ time }) => Date.parse(time)))
    const lacking = roots.some(({ lost }) => lost)
    const items = roots.map((node) => html`<${Node} key=${node.event.id} node=${node} current=${event.position} start=${start} onOpen=${onOpen} />`)
    const oneCall = roots.length > 1 && event.correlationId
    return html`
      <ul class="tree" aria-label="Causes and effects">${oneCall ? html`<li><span class="soft" title=${event.correlationId}>one call, ${short(event.correlationId)}</span><ul>${items}</ul></li>` : items}</ul>
      <p class="soft small">${events.length === 1 ? 'Nothing else belongs to it' : `${count(events.length)} events belong together`} between positions ${count(from)} and ${count(to)}.
        ${lacking && ' A cause lies outside of that.'} ${!whole && ' The search stopped at its limit.'}
        ${step + 1 < WINDOWS.length && html` <button type="button" class="link accent" onClick=${() => setStep(step + 1)}>Look further</button>`}</p>`
  }}</${Loaded}>`
}
