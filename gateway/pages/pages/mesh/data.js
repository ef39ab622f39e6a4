// What the drawing shows, gathered: health, processes, traffic, subscriptions, and the rates of events as they come.

import { useEffect, useRef, useState } from '../../lib/html.js'
import { matches } from '../../lib/filter.js'
import { secondsOf } from '../../lib/format.js'
import { refreshAnswer, useEvents, usePoll, useWatch } from '../../lib/stream.js'

const WINDOW_S = 10
// events that the hub had kept are not what happens now
const FRESH_MS = 20_000
const TRAFFIC = '/api/v1/system/traffic/watch?interval=1s&window=10s'
const ALL = {}
const PROCESSES = '/api/v1/system/processes'
const CHANGES = /^service\./

/** The mesh as one object a service, by its name; `events` tells each event that comes, for what moves. */
export function useMesh(events) {
  const health = usePoll('/health', 2000)
  const processes = usePoll(PROCESSES, 2000)
  const subscriptions = usePoll('/api/v1/subscriptions?pageSize=1000', 2000)
  const traffic = useWatch(TRAFFIC)
  const subscribed = useRef([])
  subscribed.current = subscriptions.data?.subscriptions ?? []
  const rates = useEventRates(subscribed, events)
  const found = new Map((health.data?.services ?? []).map((each) => [each.service, { ...each, processes: [] }]))
  for (const each of processes.data?.processes ?? []) {
    if (!found.has(each.service)) found.set(each.service, { service: each.service, state: each.state, processes: [], apart: true })
    found.get(each.service).processes.push(each)
  }
  for (const each of traffic.data?.traffic?.services ?? []) if (found.has(each.service)) found.get(each.service).traffic = numbers(each)
  const lost = health.status.state === 'lost'
  for (const [name, service] of found) {
    // what was true before the mesh fell silent is not known to be true now
    if (lost) Object.assign(service, { state: '', traffic: undefined, processes: service.processes.map((each) => ({ ...each, state: '' })) })
    service.subscriptions = subscribed.current.filter((each) => each.name === name || each.name.startsWith(`${name}-`))
    service.told = rates.told.get(name) ?? 0
    service.heard = rates.heard.get(name) ?? 0
  }
  return { services: found, status: health.status, trafficStatus: traffic.status, told: rates.all }
}

const numbers = (each) => ({
  ...each,
  calls: Number(each.calls), failed: Number(each.failed), refused: Number(each.refused), active: Number(each.active),
  rate: each.callsPerSecond ?? 0, p50: secondsOf(each.p50), p99: secondsOf(each.p99),
})

/** Names of the subscriptions that an event goes to. */
export const hearers = (subscriptions, event) =>
  subscriptions.filter((each) => each.state !== 'STATE_PAUSED' && matches(each.filter ?? {}, event)).map(({ name }) => name)

/** Events a second over the last seconds: by who told them, by who hears them, and in all. */
function useEventRates(subscribed, events) {
  const seconds = useRef([])
  const [rates, setRates] = useState({ told: new Map(), heard: new Map(), all: 0 })
  useEvents(ALL, ({ batch }) => {
    const now = Date.now()
    const fresh = batch.filter((event) => now - Date.parse(event.time) < FRESH_MS)
    const second = Math.floor(now / 1000)
    if (seconds.current.at(-1)?.second !== second) seconds.current.push({ second, told: new Map(), heard: new Map() })
    const { told, heard } = seconds.current.at(-1)
    for (const event of fresh) {
      told.set(event.source, (told.get(event.source) ?? 0) + 1)
      const names = hearers(subscribed.current, event)
      for (const name of names) heard.set(name, (heard.get(name) ?? 0) + 1)
      events(event, names)
    }
    // a service that went or came is seen at once, not at the next turn
    if (fresh.some(({ type }) => CHANGES.test(type))) for (const path of ['/health', PROCESSES]) refreshAnswer(path)
  })
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.hidden) return
      const from = Math.floor(Date.now() / 1000) - WINDOW_S
      seconds.current = seconds.current.filter(({ second }) => second > from)
      const told = summed(seconds.current.map((each) => each.told))
      setRates({ told, heard: summed(seconds.current.map((each) => each.heard)), all: [...told.values()].reduce((sum, each) => sum + each, 0) })
    }, 1000)
    return () => clearInterval(timer)
  }, [])
  return rates
}

function summed(maps) {
  const sums = new Map()
  for (const map of maps) for (const [name, value] of map) sums.set(name, (sums.get(name) ?? 0) + value / WINDOW_S)
  return sums
}
