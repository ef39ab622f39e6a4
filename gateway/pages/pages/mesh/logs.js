// The log of one service as it is written, newest last, with a filter by level and text.

import { html, useEffect, useRef, useState } from '../../lib/html.js'
import { address } from '../../lib/api.js'
import { clock, word } from '../../lib/format.js'
import { watchStream } from '../../lib/stream.js'
import { Empty, ErrorState, Json, Search } from '../../lib/ui.js'

const KEPT = 500
const TAIL = 200
const LEVELS = ['INFO', 'DEBUG', 'WARNING', 'ERROR']
const TONES = { LOG_LEVEL_WARNING: 'warn', LOG_LEVEL_ERROR: 'bad', LOG_LEVEL_CRITICAL: 'bad' }

function Line({ record }) {
  const [open, setOpen] = useState(false)
  const more = Object.keys(record.fields ?? {}).length > 0
  return html`<li class=${TONES[record.level] ?? ''}>
    <button type="button" class="link" aria-expanded=${String(open)} disabled=${!more} onClick=${() => setOpen(!open)}>
      <time>${clock(record.time)}</time> <span class="level">${word(record.level, 'LOG_LEVEL_')}</span> <span class="soft">${record.process}</span> ${record.message}
    </button>
    ${open && html`<${Json} value=${record.fields} label="Fields of the line" />`}
  </li>`
}

export function Logs({ service: { service } }) {
  const [level, setLevel] = useState('INFO')
  const [contains, setContains] = useState('')
  const [records, setRecords] = useState([])
  const [status, setStatus] = useState({ state: 'connecting' })
  const end = useRef(null)
  const follows = useRef(true)
  useEffect(() => {
    setRecords([])
    const path = address('/api/v1/system/logs/follow', { service, minLevel: `LOG_LEVEL_${level}`, contains, tail: TAIL })
    return watchStream(path, (news) => {
      if (news.status) setStatus(news.status)
      const fresh = news.batch.flatMap((each) => each.records ?? [])
      if (fresh.length) setRecords((old) => [...old, ...fresh].slice(-KEPT))
    })
  }, [service, level, contains])
  useEffect(() => {
    // only who is at the end wants to stay there
    if (end.current && follows.current) end.current.scrollTop = end.current.scrollHeight
  }, [records])
  const scrolled = ({ currentTarget: box }) => {
    follows.current = box.scrollHeight - box.scrollTop - box.clientHeight < 60
  }
  return html`
    <div class="filters">
      <label for="level" class="soft">From level</label>
      <select id="level" value=${level} onChange=${({ currentTarget }) => setLevel(currentTarget.value)}>${LEVELS.map((each) => html`<option value=${each}>${each.toLowerCase()}</option>`)}</select>
      <${Search} label="Lines that contain" value=${contains} onChange=${setContains} />
    </div>
    ${status.state === 'refused' ? html`<${ErrorState} error=${status.refusal} />`
      : records.length ? html`<ol class="log" ref=${end} onScroll=${scrolled} tabindex="0" aria-label=${`Log of ${service}`}>${records.map((record, index) => html`<${Line} key=${`${record.time}${index}`} record=${record} />`)}</ol>`
        : html`<${Empty} title="No lines yet.">They come as they are written.</${Empty}>`}`
}
