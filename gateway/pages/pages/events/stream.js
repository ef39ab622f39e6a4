// The stream of events, newest first: live, held while somebody reads, or from a moment in the past.

import { html, useCallback, useEffect, useRef, useState } from '../../lib/html.js'
import { address, get } from '../../lib/api.js'
import { count } from '../../lib/format.js'
import { route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { followEvents, watchStream } from '../../lib/stream.js'
import { Empty, ErrorState, State } from '../../lib/ui.js'
import { useKeys } from '../../lib/use.js'
import { Detail } from './detail.js'
import { Filters, filterOf } from './filters.js'
import { Past } from './past.js'
import { Rows } from './rows.js'

const KEPT = 400
// how far an expression looks back before it follows
const LOOK_BACK = 2000

/** Follows what fits the filter; where there is an expression, the bus decides, over a stream of its own. */
function useStream(filter, listener) {
  const newest = useRef(listener)
  newest.current = listener
  useEffect(() => {
    const heard = (news) => newest.current(news)
    if (!filter.cel) return followEvents(filter, heard)
    let stop = () => {}
    let gone = false
    get('/api/v1/events/stats').then(({ headPosition, firstPosition }) => {
      const after = Math.max(Number(headPosition) - LOOK_BACK, Number(firstPosition) - 1)
      const from = after > 0 ? { afterPosition: after } : { fromBeginning: true }
      if (!gone) stop = watchStream(address('/api/v1/events/follow', { ...filter, ...from }), heard)
    }, (refusal) => heard({ batch: [], status: { state: 'refused', refusal }, tabs: 1 }))
    return () => {
      gone = true
      stop()
    }
  }, [JSON.stringify(filter)])
}

/** The newest events that fit; while it is held, what comes waits. */
function useNewest(filter, held) {
  const [found, setFound] = useState({ events: [], status: { state: 'connecting' }, tabs: 1 })
  const waiting = useRef([])
  const [waits, setWaits] = useState(0)
  const holding = useRef(held)
  holding.current = held
  useEffect(() => {
    waiting.current = []
    setFound((old) => ({ ...old, events: [] }))
  }, [JSON.stringify(filter)])
  const release = () => {
    const fresh = waiting.current.splice(0).reverse()
    setWaits(0)
    setFound((old) => ({ ...old, events: [...fresh, ...old.events].slice(0, KEPT) }))
  }
  useStream(filter, ({ batch, status, tabs }) => {
    waiting.current.push(...batch)
    if (waiting.current.length > KEPT) waiting.current.splice(0, waiting.current.length - KEPT)
    if (status || tabs) setFound((old) => (status || tabs !== old.tabs ? { ...old, status: status ?? old.status, tabs } : old))
    if (holding.current) setWaits(waiting.current.length)
    else release()
  })
  useEffect(() => {
    if (!held) release()
  }, [held])
  return { ...found, waits }
}

function Live({ params, change, opened, open }) {
  const [paused, setPaused] = useState(false)
  const [reading, setReading] = useState(false)
  const box = useRef(null)
  const { events, status, tabs, waits } = useNewest(filterOf(params), paused || reading)
  const toggle = () => setPaused((before) => !before)
  const scrolled = useCallback(({ currentTarget }) => setReading(currentTarget.scrollTop > 40), [])
  useKeys([{ key: 'p', label: 'Pause or go on', run: toggle }, { key: 'j', label: 'Next event', run: () => step(1) }, { key: 'k', label: 'Event before', run: () => step(-1) }])
  const step = (by) => {
    const at = events.findIndex(({ position }) => position === opened)
    const next = events[Math.min(Math.max(at + by, 0), events.length - 1)]
    if (next) open(next)
  }
  return html`
    <${Filters} params=${params} onChange=${change}>
      <button type="button" aria-pressed=${String(paused)} onClick=${toggle}>${paused ? 'Paused' : 'Pause'}</button>
      <${Jump} onJump=${(from) => change({ from })} />
    </${Filters}>
    <p class="line"><${State} value=${status.state} /> <span class="soft">${tabs > 1 ? `one stream for ${tabs} tabs` : ''}</span>
      ${waits > 0 && html`<button type="button" class="quiet" onClick=${() => { setPaused(false); setReading(false); box.current.scrollTop = 0 }}>${count(waits)}${waits >= KEPT ? '+' : ''} new, show them</button>`}</p>
    ${status.state === 'refused' ? html`<${ErrorState} error=${status.refusal} />`
      : events.length ? html`<div class="panel scroll" ref=${box} onScroll=${scrolled} tabindex="0" role="region" aria-label="Events"><${Rows} events=${events} opened=${opened} onOpen=${open} /></div>`
        : html`<${Empty} title="Nothing that fits has happened yet.">Events appear as they happen; a moment in the past shows older ones.</${Empty}>`}`
}

/** A moment to look back to. */
function Jump({ onJump }) {
  return html`<label class="soft" for="jump">From</label><input id="jump" type="datetime-local" step="1"
    onChange=${({ currentTarget }) => currentTarget.value && onJump(new Date(currentTarget.value).toISOString())} />`
}

export function Stream() {
  const { params } = useSignal(route)
  const [picked, setPicked] = useState(undefined)
  const open = (event) => {
    setPicked(event)
    setParams({ event: event.position })
  }
  const close = () => setParams({ event: '' })
  const shared = { params, change: (changes) => setParams(changes), opened: params.event, open }
  return html`<div class=${params.event ? 'split' : ''}>
    <div>${params.from ? html`<${Past} ...${shared} />` : html`<${Live} ...${shared} />`}</div>
    ${params.event && html`<${Detail} key=${params.event} position=${params.event} known=${picked?.position === params.event ? picked : undefined} onOpen=${open} onClose=${close} />`}
  </div>`
}
