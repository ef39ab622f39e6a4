// Every call of the mesh: found by a word, explained by its contract, made from here, copied as code.

import { html, useEffect, useMemo, useRef } from '../lib/html.js'
import { get } from '../lib/api.js'
import { count } from '../lib/format.js'
import { link, route, setParams } from '../lib/router.js'
import { useSignal } from '../lib/store.js'
import { Empty, Heading, Loaded, Search } from '../lib/ui.js'
import { useLoad } from '../lib/use.js'
import { Call } from './calls/call.js'
import { callsOf } from './calls/contracts.js'

export const title = 'Calls'
let asked

/** The document is large and does not change while the mesh runs, so it is read once a visit. */
const document = () => (asked ??= get('/openapi.json').catch((error) => {
  asked = undefined
  throw error
}))

/** Calls whose words hold all that is wanted; those with the words in their name first. */
function found(calls, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const fitting = calls.filter(({ words: own }) => words.every((word) => own.includes(word)))
  const named = ({ rpc }) => words.every((word) => rpc.toLowerCase().includes(word))
  return words.length ? [...fitting].sort((one, other) => named(other) - named(one)) : fitting
}

function Entry({ call, current, query }) {
  return html`<li><a href=${link(['calls', ...call.rpc.split('/')], { q: query })} aria-current=${call.rpc === current ? 'true' : undefined}>
    <span class=${`verb ${call.verb.toLowerCase()}`}>${call.verb}</span><span class="what"><span>${call.name}</span><span class="soft">${call.path || 'gRPC only'}</span></span></a></li>`
}

/** Scrolls a list to one of its entries and leaves the page where it is. */
function showWithin(box, entry) {
  if (!entry) return
  const [inner, outer] = [entry.getBoundingClientRect(), box.getBoundingClientRect()]
  if (inner.top < outer.top || inner.bottom > Math.min(outer.bottom, innerHeight)) box.scrollTop += inner.top - outer.top - outer.height / 3
}

function List({ calls, current, query }) {
  const shown = found(calls, query)
  const box = useRef(null)
  useEffect(() => showWithin(box.current, box.current.querySelector('[aria-current]')), [current])
  const groups = Map.groupBy ? Map.groupBy(shown, ({ title: group }) => group) : grouped(shown)
  return html`<nav class="calls" aria-label="Calls">
    <${Search} label="Search all calls" value=${query} onChange=${(q) => setParams({ q })} />
    <p class="soft small" role="status">${count(shown.length)} of ${count(calls.length)} calls</p>
    <div class="found" ref=${box}>${shown.length ? [...groups].map(([group, own]) => html`<section key=${group}><h2>${group}</h2><ul>${own.map((call) => html`<${Entry} key=${call.rpc} call=${call} current=${current} query=${query} />`)}</ul></section>`)
      : html`<${Empty} title="No call has all of these words." />`}</div>
  </nav>`
}

function grouped(calls) {
  const groups = new Map()
  for (const call of calls) groups.set(call.title, [...(groups.get(call.title) ?? []), call])
  return groups
}

function Introduction({ api }) {
  return html`<div class="panel stack"><h2>${api.info.title} ${api.info.version}</h2><p>${api.info.description}</p>
    <p>Choose a call to see what it takes and to try it. The whole as a document: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
    ${api.tags.map(({ name, description }) => html`<section><h3>${name}</h3>
      ${description.split('\n\n').map((paragraph) => html`<p class="soft">${paragraph}</p>`)}</section>`)}</div>`
}

function Explorer({ api }) {
  const { rest, params } = useSignal(route)
  const calls = useMemo(() => callsOf(api), [api])
  const current = rest.join('/')
  const call = calls.find(({ rpc }) => rpc === current)
  return html`<div class=${`explorer ${current ? 'chosen' : ''}`}>
    <${List} calls=${calls} current=${current} query=${params.q ?? ''} />
    <div>${call ? html`<${Call} key=${call.rpc} call=${call} given=${params} />` : current ? html`<${Empty} title=${`There is no call ${current}.`}><a href=${link('calls')}>All calls</a></${Empty}>` : html`<${Introduction} api=${api} />`}</div>
  </div>`
}

export default function Calls() {
  const api = useLoad(document, [])
  return html`<${Heading} title="Calls" about="Everything the mesh can be asked, over REST and gRPC alike, made from the contracts." />
    <${Loaded} of=${api}>${(data) => html`<${Explorer} api=${data} />`}</${Loaded}>`
}
