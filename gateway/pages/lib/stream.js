// Live data for a page: shared with all tabs of the browser through one SharedWorker, handed over once per animation frame.

import { useEffect, useRef, useState } from '../vendor/hooks.mjs'
import { newId } from './api.js'

let port
let nextId = 1
const listeners = new Map()
let frame
const arrived = []

/** The hub's port: the shared worker's, or that of a hub in this tab where the browser has no shared workers. */
function hubPort() {
  if (port) return port
  if (globalThis.SharedWorker) {
    // early.js has started it
    port = globalThis.toolooWorker.port
  } else {
    const channel = new MessageChannel()
    import('./hub.js').then(({ Hub }) => new Hub().connect(channel.port2))
    port = channel.port1
  }
  port.onmessage = ({ data }) => {
    arrived.push(data)
    frame ??= document.hidden ? setTimeout(deliver, 100) : requestAnimationFrame(deliver)
  }
  port.start?.()
  keepTold(port)
  return port
}

/** The hub must know when this tab is hidden and when it is gone, also when it is gone without a word. */
function keepTold(hub) {
  const name = `tooloo.tab.${newId()}`
  // told only when it is held: a hub that asks first would get it, and take the tab for gone
  navigator.locks?.request(name, () => {
    hub.postMessage({ lock: name })
    return new Promise(() => {})
  })
  if (document.hidden) hub.postMessage({ hidden: true })
  document.addEventListener('visibilitychange', () => hub.postMessage({ hidden: document.hidden }))
  addEventListener('pagehide', ({ persisted }) => hub.postMessage(persisted ? { hidden: true } : { leave: true }))
  addEventListener('pageshow', ({ persisted }) => persisted && hub.postMessage({ hidden: false }))
}

function deliver() {
  frame = undefined
  for (const { id, batch, status, tabs } of arrived.splice(0)) listeners.get(id)?.({ batch, status, tabs })
}

function open(topic, filter, listener) {
  const id = nextId++
  listeners.set(id, listener)
  hubPort().postMessage({ open: id, topic, filter })
  return () => {
    listeners.delete(id)
    hubPort().postMessage({ close: id })
  }
}

/**
 * Follows the events of the mesh: first the newest ones that the hub has kept, then each as it comes. The function given ends it.
 * @param {import('./filter.js').Filter} filter
 * @param {(news: {batch: object[], status?: {state: 'connecting' | 'live' | 'lost' | 'refused', refusal?: object}, tabs: number}) => void} listener
 */
export const followEvents = (filter, listener) => open({ kind: 'events' }, filter, listener)

/** Follows the server stream at an address (with its query) that answers as Server-Sent Events; messages come as parsed JSON. */
export const watchStream = (path, listener) => open({ kind: 'watch', path }, undefined, listener)

/** Asks a GET again and again, once for all tabs. */
export const pollAnswer = (path, everyMs, listener) => open({ kind: 'poll', path, every: everyMs }, undefined, listener)

/** Asks such a GET now, for something is known to have changed. */
export const refreshAnswer = (path) => hubPort().postMessage({ refresh: path })

/** The newest answer of a GET that is asked again and again: {data, status}. An empty path asks nothing. */
export function usePoll(path, everyMs) {
  const [found, setFound] = useState({ status: { state: 'connecting' } })
  useEffect(() => path ? pollAnswer(path, everyMs, (news) => setFound((old) => merged(old, news))) : undefined, [path, everyMs])
  return found
}

/** The newest message of a stream: {data, status}. An empty path asks nothing. */
export function useWatch(path) {
  const [found, setFound] = useState({ status: { state: 'connecting' } })
  useEffect(() => path ? watchStream(path, (news) => setFound((old) => merged(old, news))) : undefined, [path])
  return found
}

function merged(old, { batch, status }) {
  return { data: batch.length ? batch.at(-1) : old.data, status: status ?? old.status }
}

/** Calls `listener` with the events that match, for as long as the component is shown; `filter` is compared by its content. */
export function useEvents(filter, listener) {
  const newest = useRef(listener)
  newest.current = listener
  useEffect(() => followEvents(filter, (news) => newest.current(news)), [JSON.stringify(filter)])
}
