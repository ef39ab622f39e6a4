// The mesh as a drawing that lives: who does how, what goes where, and each service from near.

import { html, useEffect, useRef } from '../lib/html.js'
import { bytes, count, duration, rate } from '../lib/format.js'
import { go, route } from '../lib/router.js'
import { useSignal } from '../lib/store.js'
import { ErrorState, Heading, Loading, State, Table } from '../lib/ui.js'
import { useMesh } from './mesh/data.js'
import { Dots } from './mesh/dots.js'
import { Drawing } from './mesh/drawing.js'
import { Service } from './mesh/service.js'

export const title = 'Mesh'
const HEARD_AFTER_MS = 700

const sum = (list, value) => list.reduce((total, each) => total + Number(value(each)), 0)
const traffic = (show) => (service) => (service.traffic ? show(service.traffic) : '–')

const COLUMNS = [
  { label: 'Service', cell: ({ service, apart }) => (apart ? `${service} (the door)` : service) },
  { label: 'State', cell: ({ state }) => html`<${State} value=${state} prefix="SERVING_STATE_" />` },
  { label: 'Replicas', align: 'end', hide: 'small', cell: ({ servingReplicas, wantedReplicas, processes }) => (wantedReplicas === undefined ? processes.length : `${servingReplicas} of ${wantedReplicas}`) },
  { label: 'Restarts', align: 'end', hide: 'small', cell: ({ processes }) => sum(processes, ({ restarts }) => restarts) },
  { label: 'Memory', align: 'end', hide: 'small', cell: ({ processes }) => (processes.length ? bytes(sum(processes, ({ memoryBytes }) => memoryBytes)) : '–') },
  { label: 'Calls/s', align: 'end', cell: traffic((each) => rate(each.rate)) },
  { label: 'p99', align: 'end', hide: 'small', cell: traffic((each) => (each.calls ? duration(each.p99) : '–')) },
  { label: 'Failed', align: 'end', cell: traffic(({ failed }) => html`<span class=${failed ? 'bad' : ''}>${count(failed)}</span>`) },
  { label: 'Refused', align: 'end', hide: 'small', cell: traffic(({ refused }) => count(refused)) },
  { label: 'Under way', align: 'end', hide: 'small', cell: traffic(({ active }) => count(active)) },
  { label: 'Events/s', align: 'end', cell: ({ told }) => rate(told) },
  { label: 'Lag', align: 'end', cell: ({ subscriptions }) => (subscriptions.length ? count(sum(subscriptions, ({ backlog }) => backlog)) : '–') },
]

/** A panel that opens takes the focus, on its heading; when it closes, the service in the drawing has it, for what had it is gone. */
function useFocusFollows(selected) {
  const before = useRef(selected)
  useEffect(() => {
    if (before.current === selected) return
    document.querySelector(selected ? '.near h2' : `.drawing [data-service="${before.current}"]`)?.focus()
    before.current = selected
  }, [selected])
}

export default function Mesh() {
  const { rest: [selected] } = useSignal(route)
  const dots = useRef(null)
  dots.current ??= new Dots()
  const mesh = useMesh((event, names) => {
    dots.current.send(`tell ${event.source}`)
    for (const name of names) dots.current.send(`hear ${name}`, HEARD_AFTER_MS)
  })
  const service = mesh.services.get(selected)
  useFocusFollows(selected)
  return html`
    <${Heading} title="Mesh" about="The door, the services behind it and the bus between them; figures are of the last ten seconds." />
    ${mesh.trafficStatus.state === 'refused' && html`<p class="soft" role="status">Calls cannot be counted now: ${mesh.trafficStatus.refusal.message}</p>`}
    ${mesh.status.state === 'lost' && (mesh.services.size ? html`<p class="banner" role="alert">${mesh.status.refusal.message} What stands here was so before.</p>` : html`<${ErrorState} error=${mesh.status.refusal} />`)}
    ${mesh.services.size ? html`<${Drawing} ...${mesh} selected=${selected} dots=${dots.current} />` : mesh.status.state !== 'lost' && html`<${Loading} what="Asking how the mesh does" />`}
    ${service ? html`<${Service} key=${selected} service=${service} />`
      : html`<${Table} caption="Services of the mesh" columns=${COLUMNS} rows=${[...mesh.services.values()]} keyOf=${(each) => each.service} onOpen=${(each) => go(['mesh', each.service])} />`}`
}
