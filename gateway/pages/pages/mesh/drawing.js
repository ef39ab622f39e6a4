// The drawing: the door, the services, the bus, and the edges between them with their figures.

import { html, useEffect, useMemo, useRef, useState } from '../../lib/html.js'
import { bytes, duration, rate, word } from '../../lib/format.js'
import { link } from '../../lib/router.js'
import { toneOf } from '../../lib/ui.js'
import { layout } from './layout.js'

const stateOf = (service) => word(service?.state, 'SERVING_STATE_') || 'unknown'
const memoryOf = (service) => service.processes.reduce((sum, each) => sum + Number(each.memoryBytes), 0)
// a line grows with the logarithm of its rate, so that one a minute and a thousand a second can both be seen
const strength = (value) => 1 + Math.min(Math.log10(1 + (value ?? 0)) * 1.6, 4)

/** How many calls or events a second, in words for who cannot see the drawing. */
function saidOf(name, service) {
  const parts = [`${name}: ${stateOf(service)}`]
  if (service?.wantedReplicas !== undefined) parts.push(`${service.servingReplicas} of ${service.wantedReplicas} replicas`)
  if (service?.traffic) parts.push(`${rate(service.traffic.rate)} calls a second, ${service.traffic.failed} failed`)
  return parts.join(', ')
}

function Line({ edge, value, kind, bad }) {
  return html`<line class=${`edge ${kind} ${bad ? 'failing' : ''}`} x1=${edge.x1} y1=${edge.y1} x2=${edge.x2} y2=${edge.y2} stroke-width=${strength(value)} />`
}

function Words({ edge, lines }) {
  const shown = lines.filter(Boolean)
  const top = edge.ty - (shown.length - 1) * 7
  return html`<text class="figure" text-anchor=${edge.anchor} aria-hidden="true">${shown.map(({ text, tone = '' }, index) =>
    html`<tspan x=${edge.tx} y=${top + index * 15} class=${tone}>${text}</tspan>`)}</text>`
}

function CallEdge({ edge, traffic }) {
  const failing = traffic?.failed > 0
  return html`<${Line} edge=${edge} value=${traffic?.rate} kind="call" bad=${failing} />
    ${traffic && html`<${Words} edge=${edge} lines=${[
      { text: `${rate(traffic.rate)}/s` },
      traffic.calls > 0 && { text: duration(traffic.p99), tone: 'faint' },
      failing && { text: `${traffic.failed} failed`, tone: 'bad' },
    ]} />`}`
}

function Service({ place, service, selected }) {
  const { box, name, call, tell, hear } = place
  const state = stateOf(service)
  const tone = toneOf(state)
  const lag = service.subscriptions.reduce((sum, each) => sum + Number(each.backlog), 0)
  const memory = memoryOf(service)
  const detail = [`${service.servingReplicas ?? 0} of ${service.wantedReplicas ?? 0}`, memory && bytes(memory)].filter(Boolean).join(' · ')
  return html`
    <${CallEdge} edge=${call} traffic=${service.traffic} />
    <${Line} edge=${tell} value=${service.told} kind="tell" />
    <${Words} edge=${tell} lines=${[service.told > 0 && { text: `${rate(service.told)}/s` }]} />
    ${service.subscriptions.length > 0 && html`<${Line} edge=${hear} value=${service.heard} kind="hear" />
      <${Words} edge=${hear} lines=${[{ text: `lag ${lag}`, tone: lag > 100 ? 'warn' : 'faint' }]} />`}
    <a href=${link(['mesh', name])} class=${`node ${tone} ${selected ? 'selected' : ''}`} aria-label=${saidOf(name, service)} data-service=${name}>
      <rect x=${box.x} y=${box.y} width=${box.w} height=${box.h} rx="7" />
      <rect class="stripe" x=${box.x} y=${box.y + 10} width="3" height=${box.h - 20} rx="1.5" />
      <text class="name" x=${box.x + 14} y=${box.y + 24}>${name}</text>
      <circle class="lamp" cx=${box.x + 18} cy=${box.y + 41} r="4" />
      <text class="word" x=${box.x + 28} y=${box.y + 45}>${state}</text>
      <text class="faint" x=${box.x + 14} y=${box.y + 65}>${detail}</text>
    </a>`
}

function Bar({ name, title, box, service, selected, small, about }) {
  const state = stateOf(service)
  const words = small
    ? html`<text class="name" transform=${`translate(${box.x + box.w / 2 + 4}, ${box.y + 56}) rotate(-90)`} text-anchor="middle">${title}</text>
        <circle class="lamp" cx=${box.x + box.w / 2} cy=${box.y + 108} r="4" />
        <text class="word" transform=${`translate(${box.x + box.w / 2 + 4}, ${box.y + 152}) rotate(-90)`} text-anchor="middle">${state}</text>`
    : html`<text class="name" x=${box.x + 16} y=${box.y + 28}>${title}</text>
        <circle class="lamp" cx=${box.x + 106} cy=${box.y + 24} r="4" /><text class="word" x=${box.x + 116} y=${box.y + 28}>${state}</text>
        <text class="faint" x=${box.x + 240} y=${box.y + 28}>${about}</text>`
  return html`<a href=${link(['mesh', name])} class=${`node ${toneOf(state)} ${selected ? 'selected' : ''}`} aria-label=${saidOf(title, service)} data-service=${name}>
    <rect x=${box.x} y=${box.y} width=${box.w} height=${box.h} rx="7" />${words}</a>`
}

/** Every edge by the name that dots are sent along. */
function edgesOf(places) {
  const edges = new Map([['call bus', places.busCall]])
  for (const { name, call, tell, hear } of places.services) edges.set(`call ${name}`, call).set(`tell ${name}`, tell).set(`hear ${name}`, hear)
  return edges
}

/** Follows the width of an element. */
function useWidth(box) {
  const [width, setWidth] = useState(0)
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)))
    observer.observe(box.current)
    return () => observer.disconnect()
  }, [])
  return width
}

/** The whole drawing; `dots` is what moves in it. */
export function Drawing({ services, told, selected, dots }) {
  const box = useRef(null)
  const layer = useRef(null)
  const width = useWidth(box)
  const names = [...services.values()].filter(({ service, apart }) => !apart && service !== 'bus').map(({ service }) => service)
  const places = useMemo(() => layout(names, width), [names.join(' '), width])
  const [door, bus] = [[...services.values()].find(({ apart }) => apart), services.get('bus')]
  dots.set(edgesOf(places), new Map([...services.values()].filter(({ traffic }) => traffic).map(({ service, traffic }) => [`call ${service}`, traffic.rate])))
  useEffect(() => {
    dots.attach(layer.current ?? undefined)
    return () => dots.attach(undefined)
  }, [width > 0])
  const shared = { small: places.small }
  const calls = [...services.values()].reduce((sum, { traffic }) => sum + (traffic?.rate ?? 0), 0)
  const ofDoor = [bus?.traffic && `${rate(calls)} calls a second`, door && bytes(memoryOf(door)), 'Envoy: REST, SSE and gRPC on one port'].filter(Boolean).join(' · ')
  return html`<div class="drawing" ref=${box}>${width > 0 && html`
    <svg width=${width} height=${places.height} viewBox=${`0 0 ${width} ${places.height}`} role="group" aria-label="Drawing of the mesh">
      <${CallEdge} edge=${places.busCall} traffic=${bus?.traffic} />
      ${places.services.map((place) => html`<${Service} key=${place.name} place=${place} service=${services.get(place.name)} selected=${place.name === selected} ...${shared} />`)}
      <${Bar} name=${door?.service ?? 'envoy'} title="Door" box=${places.door} service=${door} selected=${selected === door?.service} about=${ofDoor} ...${shared} />
      <${Bar} name="bus" title="Event bus" box=${places.bus} service=${bus} selected=${selected === 'bus'} about=${`${rate(told)} events a second${bus ? ` · ${bytes(memoryOf(bus))}` : ''}`} ...${shared} />
      <g ref=${layer} aria-hidden="true"></g>
    </svg>`}</div>`
}
