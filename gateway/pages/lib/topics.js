// What a hub can be asked for, each held once for all tabs: the event stream, any other stream, and answers that are asked again.

import { Refusal, get, health, send } from './api.js'
import { readSse } from './sse.js'

const RING = 2000
const RING_CHARACTERS = 8_000_000
const FIRST = 200
const RETRY_MS = [250, 500, 1000, 2000, 4000]

// the last words of a stream that ends, which are no events: whoever comes back resumes
const FAREWELLS = ['end', 'error']
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const plain = ({ code, message, details, status, reason }) => ({ code, message, details, status, reason })

/** Keeps a connection up: `connect` gives when it ended; a refusal that cannot pass ends the topic. */
class Connection {
  constructor(tell) {
    this.tell = tell
    this.state = { state: 'connecting' }
    this.abort = new AbortController()
    this.tries = 0
  }

  change(state, more = {}) {
    this.state = { state, ...more }
    this.tell({ status: this.state })
  }

  async run() {
    while (!this.abort.signal.aborted) {
      let refusal = new Refusal({ message: 'The stream ended.' })
      try {
        await this.connect()
      } catch (error) {
        if (error instanceof Refusal) refusal = error
      }
      if (this.abort.signal.aborted) return
      if (!refusal.passing) return this.change('refused', { refusal: plain(refusal) })
      this.change('lost', { refusal: plain(refusal) })
      await pause(RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)])
    }
  }

  stop() {
    this.abort.abort()
  }

  async open(path, params, lastId) {
    const headers = { accept: 'text/event-stream', ...(lastId ? { 'last-event-id': String(lastId) } : {}) }
    const response = await send('GET', path, { params, headers, signal: this.abort.signal })
    this.tries = 0
    this.change('live')
    return response
  }
}

/** A stream at an address; each message is told as it comes. */
export class Watch extends Connection {
  constructor(topic, tell) {
    super(tell)
    this.path = topic.path
    this.lastId = ''
  }

  async connect() {
    const response = await this.open(this.path, {}, this.lastId)
    await readSse(response, (all) => {
      const messages = all.filter(({ type }) => !FAREWELLS.includes(type))
      if (!messages.length) return
      this.lastId = messages.at(-1).id || this.lastId
      this.tell({ batch: messages.map(({ data }) => JSON.parse(data)) })
    })
  }
}

/** The event stream of the whole mesh, with the newest events kept for who comes later. */
export class Events extends Connection {
  constructor(_topic, tell) {
    super(tell)
    this.ring = []
    this.sizes = []
    this.held = 0
    this.position = 0
  }

  async connect() {
    const { headPosition, firstPosition } = await get('/api/v1/events/stats', {}, { signal: this.abort.signal })
    const head = Number(headPosition)
    // another log than before, or one that forgot what we stand on
    if (head < this.position || this.position + 1 < Number(firstPosition)) this.position = 0
    const after = this.position || Math.max(head - FIRST, Number(firstPosition) - 1)
    const response = await this.open('/api/v1/events/follow', after > 0 ? { afterPosition: after } : { fromBeginning: true })
    await readSse(response, (messages) => this.heard(messages))
  }

  heard(all) {
    const messages = all.filter(({ type }) => !FAREWELLS.includes(type))
    if (!messages.length) return
    const events = messages.map(({ data }) => JSON.parse(data))
    this.position = Number(messages.at(-1).id)
    this.ring.push(...events)
    for (const { data } of messages) this.held += this.sizes[this.sizes.push(data.length) - 1]
    while (this.ring.length > RING || this.held > RING_CHARACTERS) {
      this.ring.shift()
      this.held -= this.sizes.shift()
    }
    this.tell({ batch: events })
  }
}

/** An answer that is asked again and again, but not while nobody sees it. */
export class Poll {
  constructor(topic, tell, idle) {
    this.idle = idle
    this.path = topic.path
    this.every = topic.every
    this.tell = tell
    this.stopped = false
    this.state = { state: 'connecting' }
  }

  async run() {
    while (!this.stopped) {
      if (!this.idle()) await this.ask()
      await pause(this.every)
    }
  }

  async ask() {
    try {
      this.last = await (this.path === '/health' ? health() : get(this.path))
      this.state = { state: 'live' }
    } catch (error) {
      this.state = { state: 'lost', refusal: plain(error) }
    }
    if (!this.stopped) this.tell({ status: this.state, ...(this.state.state === 'live' ? { batch: [this.last] } : {}) })
  }

  stop() {
    this.stopped = true
  }
}
