// Models: which can be had now, what was seen of them, and why one gets no calls.

import { get, listAll, post } from '../../lib/api.js'
import { attempt } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago, count, duration, word } from '../../lib/format.js'
import { useEvery, useRarely } from '../../lib/paged.js'
import { route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { useEvents } from '../../lib/stream.js'
import { Empty, Loaded, State, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const AVAILABLE = 'PROVIDER_STATE_AVAILABLE'
const TONES = { available: 'good', degraded: 'warn', unavailable: 'bad', 'not configured': 'none' }
const keyOf = ({ providerId, model, keyId }) => `${providerId} ${model} ${keyId}`
const modelKeyOf = ({ providerId }, model) => `${providerId} ${model}`
const failuresOf = ({ window }) => (window?.failures ?? []).reduce((sum, each) => sum + Number(each.count), 0)

async function put(verb, entry, reload) {
  const body = { providerId: entry.providerId, model: entry.model, keyId: entry.keyId, ...(verb === 'drain' ? { reason: 'taken out in the control room' } : {}) }
  if (await attempt(() => post(`/api/v1/availability/${verb}`, body), `${entry.model || entry.providerId}: ${verb} is done.`)) reload()
}

/** Everything that is shown, each model with how good it is taken for. */
async function load(onlyTroubled) {
  const [entries, { providers }] = await Promise.all([listAll('/api/v1/availability', { onlyTroubled, pageSize: 1000 }, 'entries'), get('/api/v1/providers/status')])
  const known = new Map(providers.flatMap((provider) => provider.models.map((model) => [modelKeyOf(provider, model.model), model])))
  return entries.map((entry) => ({ ...entry, known: entry.keyId ? undefined : known.get(modelKeyOf(entry, entry.model)) }))
}

/** What the registry says, and what was learned here from so many outcomes. */
function quality({ known }) {
  if (!known) return '–'
  const prior = known.priorQuality.toFixed(2)
  return known.learnedQuality == null ? prior : html`${prior} → <strong>${known.learnedQuality.toFixed(2)}</strong> <span class="soft">after ${count(known.qualityOutcomes)}</span>`
}

/** A model of a provider that cannot be had cannot be had either. */
function stateOf(entry, providers) {
  const above = providers.get(entry.providerId)
  return entry.state === AVAILABLE && above ? above : entry.state
}

const columns = (reload, providers) => [
  { label: 'What', cell: (each) => (each.model ? html`<span class="inner">${each.model}</span>` : html`<strong>${each.providerId}</strong>${each.keyId && ` key ${each.keyId}`}`) },
  { label: 'State', cell: (each) => html`<${State} value=${stateOf(each, providers)} prefix="PROVIDER_STATE_" tone=${TONES[word(stateOf(each, providers), 'PROVIDER_STATE_')]} />` },
  { label: 'Why', cell: (each) => html`${each.reason}${each.until && html` <span class="soft">until ${ago(each.until)}</span>`}`, hide: 'small' },
  { label: 'Quality', cell: quality, align: 'end', hide: 'small' },
  { label: 'Calls lately', cell: ({ window }) => (window ? count(window.calls) : '–'), align: 'end' },
  { label: 'Failed', cell: (each) => (each.window ? count(failuresOf(each)) : '–'), align: 'end', hide: 'small' },
  { label: 'p50', cell: ({ window }) => duration(window?.latencyP50), align: 'end', hide: 'small' },
  { label: 'p95', cell: ({ window }) => duration(window?.latencyP95), align: 'end', hide: 'small' },
  { label: 'In flight', cell: (each) => (each.model ? count(each.inFlight) : '–'), align: 'end', hide: 'small' },
  { label: 'Change', cell: (each) => (each.cause === 'UNAVAILABLE_CAUSE_OPERATOR'
    ? html`<button type="button" aria-label=${`Put ${each.model || each.providerId} back`} onClick=${() => put('restore', each, reload)}>Put back</button>`
    : html`<button type="button" class="quiet" aria-label=${`Take ${each.model || each.providerId} out`} onClick=${() => put('drain', each, reload)}>Take out</button>`) },
]

export function Models() {
  const { params } = useSignal(route)
  const troubled = params.troubled === 'true'
  const loaded = useLoad(() => load(troubled), [troubled])
  const reload = useRarely(loaded.reload)
  useEvents({ types: ['provider.health.changed', 'provider.priority.changed'] }, reload)
  useEvery(loaded.reload, 10_000)
  return html`<div class="filters"><label class="inline"><input type="checkbox" checked=${troubled} onChange=${({ currentTarget }) => setParams({ troubled: currentTarget.checked })} /> only what gets no calls</label></div>
    <${Loaded} of=${loaded}>${(entries) => html`<${Table} caption="Providers, their keys and models" columns=${columns(loaded.reload, new Map(entries.filter(({ model, keyId }) => !model && !keyId).map(({ providerId, state }) => [providerId, state])))} rows=${entries} keyOf=${keyOf}
      empty=${html`<${Empty} title="Everything gets calls."></${Empty}>`} />`}</${Loaded}>`
}
