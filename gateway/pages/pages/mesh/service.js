// One service from near: how it does and why, its processes, its log, its calls; restart it, scale it.

import { html, useState } from '../../lib/html.js'
import { post } from '../../lib/api.js'
import { ask, attempt } from '../../lib/dialog.js'
import { ago, bytes, count, duration, percent, rate, word } from '../../lib/format.js'
import { go, link, route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { usePoll } from '../../lib/stream.js'
import { Empty, Facts, State, Table, Tabs } from '../../lib/ui.js'
import { useKeys } from '../../lib/use.js'
import { Logs } from './logs.js'

const MOST_REPLICAS = 16

async function restart(name) {
  const sure = await ask({ title: `Restart ${name}?`, text: 'Its replicas are drained and started anew one after another; calls wait for it or go to another replica.', action: 'Restart' })
  if (sure) await attempt(() => post(`/api/v1/system/services/${name}/restart`), `${name} was restarted.`)
}

function Scale({ service: { service: name, wantedReplicas } }) {
  const [wanted, setWanted] = useState(wantedReplicas)
  const scale = async (event) => {
    event.preventDefault()
    const sure = await ask({ title: `Run ${name} as ${wanted} ${wanted === 1 ? 'replica' : 'replicas'}?`, text: `It runs as ${wantedReplicas} now. No call fails while this happens.`, action: 'Scale' })
    if (sure) await attempt(() => post(`/api/v1/system/services/${name}/scale`, { replicas: wanted }), `${name} runs as ${wanted}.`)
  }
  return html`<form class="buttons" onSubmit=${scale}>
    <label for="replicas" class="soft">Replicas</label>
    <input id="replicas" type="number" min="1" max=${MOST_REPLICAS} value=${wanted} onInput=${({ currentTarget }) => setWanted(Number(currentTarget.value))} style="width: 4.5rem" />
    <button type="submit" disabled=${wanted === wantedReplicas || !(wanted >= 1 && wanted <= MOST_REPLICAS)}>Scale</button>
  </form>`
}

function Parts({ name }) {
  const { data } = usePoll('/api/v1/analytics/overview', 5000)
  const score = data?.services?.find(({ service }) => service === name)
  if (!score) return html`<p class="soft">Analytics has no score for it${data ? ' yet' : ', or does not answer'}.</p>`
  const columns = [
    { label: 'Part', cell: ({ aspect }) => word(aspect, 'HEALTH_ASPECT_') },
    { label: 'Score', align: 'end', cell: (part) => (part.score === undefined ? '–' : percent(part.score)) },
    { label: 'Weight', align: 'end', cell: ({ weight }) => percent(weight) },
    { label: 'Seen', cell: (part) => html`${part.detail}${part.score === undefined && html` <span class="soft">(${count(part.samples)} of ${count(part.samplesNeeded)} samples needed)</span>`}` },
  ]
  return html`<p><${State} value=${score.band} prefix="HEALTH_BAND_" /> ${score.score !== undefined && html`<strong>${percent(score.score)}</strong>`} <span class="soft">over the last hour</span></p>
    <${Table} caption=${`Parts of the health of ${name}`} columns=${columns} rows=${score.parts} keyOf=${({ aspect }) => aspect} />`
}

function HealthTab({ service }) {
  const { traffic } = service
  return html`<div class="stack">
    <${Facts} facts=${[
      ['State', html`<${State} value=${service.state} prefix="SERVING_STATE_" />`],
      ['Own port', service.port],
      ['Replicas', service.wantedReplicas !== undefined && `${service.servingReplicas} of ${service.wantedReplicas} serve`],
      ['Calls', traffic && `${rate(traffic.rate)} a second`],
      ['Median, 99th percentile', traffic?.calls > 0 && `${duration(traffic.p50)}, ${duration(traffic.p99)}`],
      ['Failed, refused', traffic && `${count(traffic.failed)}, ${count(traffic.refused)}`],
      ['Under way', traffic && count(traffic.active)],
      ['Events told', `${rate(service.told)} a second`],
      ...service.subscriptions.map((each) => [`Subscription ${each.name}`, html`lag ${count(each.backlog)}, oldest ${duration(each.oldestUnacknowledgedAge)}, <a href=${link('events', { view: 'dead', subscription: each.name })}>${count(each.deadLetters)} dead</a>`]),
    ].filter(([, value]) => value !== false)} />
    ${!service.apart && html`<${Parts} name=${service.service} />`}
  </div>`
}

const PROCESS_COLUMNS = [
  { label: 'Process', cell: ({ name }) => html`<span class="mono">${name}</span>` },
  { label: 'State', cell: ({ state }) => html`<${State} value=${state} prefix="SERVING_STATE_" />` },
  { label: 'Pid', align: 'end', cell: ({ pid }) => pid || '–' },
  { label: 'Memory', align: 'end', cell: ({ memoryBytes }) => bytes(memoryBytes) },
  { label: 'Restarts', align: 'end', cell: ({ restarts }) => restarts },
  { label: 'Started', cell: ({ startTime }) => ago(startTime) },
  { label: 'Ended last', cell: ({ lastExit }) => lastExit || html`<span class="soft">never</span>` },
]

function Processes({ service }) {
  const empty = html`<${Empty} title="It has no process.">It was stopped; it runs again when it is started.</${Empty}>`
  return html`<${Table} caption=${`Processes of ${service.service}`} columns=${PROCESS_COLUMNS} rows=${service.processes} keyOf=${({ name }) => name} empty=${empty} />`
}

const CALL_COLUMNS = [
  { label: 'Call', cell: ({ rpc }) => html`<a href=${link(['calls', ...rpc.split('/')])}>${rpc.split('/')[1]}</a>` },
  { label: 'Method', cell: ({ method }) => method },
  { label: 'Path', cell: ({ path }) => html`<code>${path}</code>` },
  { label: 'gRPC service', hide: 'small', cell: ({ rpc }) => html`<span class="soft">${rpc.split('/')[0]}</span>` },
]

function Calls({ service: { service: name } }) {
  const { data } = usePoll('/api/v1/system/routing', 60_000)
  const rows = (data?.routes ?? []).filter((each) => each.service === name)
  return html`<${Table} caption=${`Calls of ${name}`} columns=${CALL_COLUMNS} rows=${rows} keyOf=${({ rpc }) => rpc} empty=${html`<${Empty} title="It answers no calls of its own." />`} />`
}

const VIEWS = { health: HealthTab, processes: Processes, logs: Logs, calls: Calls }

/** The panel of one service below the drawing. */
export function Service({ service }) {
  const { params } = useSignal(route)
  const view = params.view in VIEWS ? params.view : 'health'
  const View = VIEWS[view]
  const name = service.service
  const managed = service.processes.some(({ manager }) => !manager) && !service.apart
  useKeys([
    { key: 'Escape', label: 'Back to all services', run: () => go('mesh') },
    ...(managed ? [{ key: 'r', label: `Restart ${name}`, run: () => restart(name) }] : []),
  ])
  const tabs = [{ id: 'health', label: 'Health' }, { id: 'processes', label: 'Processes', count: service.processes.length }, { id: 'logs', label: 'Logs' }, ...(service.apart ? [] : [{ id: 'calls', label: 'Calls' }])]
  return html`<section class="panel near" aria-label=${name}>
    <header class="heading"><h2 tabindex="-1">${name}</h2>
      <div class="buttons">
        ${managed && html`<button type="button" onClick=${() => restart(name)}>Restart</button><${Scale} key=${service.wantedReplicas} service=${service} />`}
        <a class="button" href=${link('mesh')}>All services</a>
      </div>
    </header>
    <${Tabs} label=${`What to see of ${name}`} tabs=${tabs} current=${view} onChange=${(id) => setParams({ view: id })} />
    <div role="tabpanel" aria-labelledby=${`tab-${view}`}><${View} service=${service} /></div>
  </section>`
}
