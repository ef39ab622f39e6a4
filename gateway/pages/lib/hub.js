// The hub between the tabs of a browser and the mesh: whatever several tabs look at is asked for once.
//
// A tab opens a topic under an id of its own: {open: id, topic: {kind: 'events' | 'watch' | 'poll', path, every}, filter}. It is sent
// {id, batch} and {id, status}; a hidden tab is sent nothing until it is seen again.

import { matches } from './filter.js'
import { Events, Poll, Watch } from './topics.js'

const KINDS = { events: Events, watch: Watch, poll: Poll }
const FLUSH_MS = 100
// browsers allow six connections to a host over HTTP/1.1; two stay free for calls
const MOST_STREAMS = 4
const TOO_MANY = {
  code: 8, status: 429, reason: 'BROWSER_CONNECTIONS',
  message: 'This browser has four live streams open to the mesh already, and allows six connections. It begins by itself when another page of the control room is closed.',
}

class Tab {
  constructor(port) {
    this.port = port
    this.wants = new Map()
    this.hidden = false
  }
}

/** One thing that a tab looks at, with what waits to be sent to it. */
class Want {
  constructor(id, tab, held, filter) {
    Object.assign(this, { id, tab, held, filter, waiting: [], status: undefined })
  }

  take({ batch = [], status }) {
    if (status) this.status = status
    const fitting = this.filter ? batch.filter((event) => matches(this.filter, event)) : batch
    this.waiting.push(...fitting)
    const most = this.held.kind === 'poll' ? 1 : 2000
    if (this.waiting.length > most) this.waiting.splice(0, this.waiting.length - most)
  }

  flush() {
    const tabs = new Set([...this.held.wants].map(({ tab }) => tab)).size
    if (this.tab.hidden || (!this.waiting.length && !this.status && tabs === this.tabs)) return
    this.tabs = tabs
    this.tab.port.postMessage({ id: this.id, batch: this.waiting, status: this.status, tabs })
    this.waiting = []
    this.status = undefined
  }
}

export class Hub {
  #held = new Map()
  #tabs = new Set()
  #timer
  #flushed = 0

  /** A tab's port; the tab stays until it says that it leaves, or its lock is free because it is gone. */
  connect(port) {
    const tab = new Tab(port)
    this.#tabs.add(tab)
    port.onmessage = ({ data }) => this.#heard(tab, data)
    port.start?.()
  }

  #heard(tab, message) {
    if (message.open !== undefined) this.#open(tab, message)
    else if (message.close !== undefined) this.#close(tab, message.close)
    else if (message.hidden !== undefined) this.#hide(tab, message.hidden)
    else if (message.refresh) this.#refresh(message.refresh)
    else if (message.leave) this.#leave(tab)
    else if (message.lock) globalThis.navigator?.locks?.request(message.lock, () => this.#leave(tab))
  }

  #open(tab, { open: id, topic, filter }) {
    const key = `${topic.kind} ${topic.path ?? ''} ${topic.every ?? ''}`
    const known = this.#held.get(key)
    const held = known ?? this.#hold(key, topic)
    const want = new Want(id, tab, held, filter)
    tab.wants.set(id, want)
    held.wants.add(want)
    if (!known) this.#start(held)
    const { ring, last, state } = held.source
    want.take({ batch: ring ?? (last === undefined ? [] : [last]), status: state })
    this.#soon()
  }

  #hold(key, topic) {
    const held = { key, kind: topic.kind, wants: new Set() }
    const tell = (news) => {
      for (const want of held.wants) want.take(news)
      this.#soon()
    }
    held.source = new KINDS[topic.kind](topic, tell, () => [...held.wants].every(({ tab }) => tab.hidden))
    this.#held.set(key, held)
    return held
  }

  #start(held) {
    const running = [...this.#held.values()].filter((each) => each !== held && each.kind !== 'poll' && each.source.state.refusal !== TOO_MANY)
    if (held.kind !== 'poll' && running.length >= MOST_STREAMS) held.source.state = { state: 'refused', refusal: TOO_MANY }
    else held.source.run()
    for (const want of held.wants) want.take({ status: held.source.state })
    this.#soon()
  }

  #close(tab, id) {
    const want = tab.wants.get(id)
    if (!want) return
    tab.wants.delete(id)
    want.held.wants.delete(want)
    if (want.held.wants.size) return this.#soon()
    want.held.source.stop()
    this.#held.delete(want.held.key)
    // the first one that was refused for want of a connection has one now
    const refused = [...this.#held.values()].find(({ source }) => source.state.refusal === TOO_MANY)
    return refused && this.#start(refused)
  }

  #hide(tab, hidden) {
    tab.hidden = hidden
    if (hidden) return
    for (const { held } of tab.wants.values()) if (held.kind === 'poll') held.source.ask()
    this.#soon()
  }

  #refresh(path) {
    for (const { kind, source } of this.#held.values()) if (kind === 'poll' && source.path === path) source.ask()
  }

  #leave(tab) {
    for (const id of [...tab.wants.keys()]) this.#close(tab, id)
    this.#tabs.delete(tab)
  }

  /** Hands over what waits: at once after a rest, else with what comes in the meantime. */
  #soon() {
    const rest = this.#flushed + FLUSH_MS - performance.now()
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#flushed = performance.now()
      for (const tab of this.#tabs) for (const want of tab.wants.values()) want.flush()
    }, Math.max(rest, 0))
  }
}
