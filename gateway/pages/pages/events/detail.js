// One event: its envelope, its message field by field, as JSON, and what made it and followed from it.

import { html, useEffect, useRef } from '../../lib/html.js'
import { get } from '../../lib/api.js'
import { ago, clock, day, duration, money } from '../../lib/format.js'
import { link } from '../../lib/router.js'
import { Copy, Facts, Json, Loaded } from '../../lib/ui.js'
import { useKeys, useLoad } from '../../lib/use.js'
import { Chain } from './chain.js'

async function eventAt(position, signal) {
  const { events } = await get('/api/v1/events', { afterPosition: Number(position) - 1, pageSize: 1 }, { signal })
  if (events[0]?.position !== String(position)) throw new Error(`There is no event at ${position}: it was erased, or the log no longer reaches back so far.`)
  return events[0]
}

const isMoney = (value) => value && typeof value === 'object' && 'currencyCode' in value
const TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/

function shown(value) {
  if (isMoney(value)) return money(value)
  if (typeof value === 'string' && TIME.test(value)) return html`<time title=${value}>${day(value)} ${clock(value).slice(-12)}</time>`
  if (typeof value === 'string' && /^-?\d+(\.\d+)?s$/.test(value)) return duration(value)
  return value === '' ? html`<span class="soft">empty</span>` : String(value)
}

/** Each value of a message with its path, e.g. "account.cost". */
function flattened(message, prefix = '') {
  return Object.entries(message ?? {}).filter(([name]) => name !== '@type').flatMap(([name, value]) => {
    const path = prefix ? `${prefix}.${name}` : name
    if (value && typeof value === 'object' && !isMoney(value)) {
      return Object.keys(value).length ? flattened(value, path) : [[path, html`<span class="soft">none</span>`]]
    }
    return [[path, shown(value)]]
  })
}

function Fields({ message }) {
  const rows = flattened(message)
  return rows.length ? html`<div class="table" tabindex="0" role="region" aria-label="Fields of the event"><table class="fields"><tbody>
    ${rows.map(([path, value]) => html`<tr key=${path}><th scope="row"><code>${path}</code></th><td>${value}</td></tr>`)}</tbody></table></div>`
    : html`<p class="soft">It has no fields.</p>`
}

export function Detail({ position, known, onOpen, onClose }) {
  const found = useLoad((signal) => (known ? Promise.resolve(known) : eventAt(position, signal)), [position])
  const box = useRef(null)
  useKeys([{ key: 'Escape', label: 'Close the event', run: onClose }])
  useEffect(() => {
    // on a small screen it stands below the list, out of sight
    if (box.current?.getBoundingClientRect().top > innerHeight - 80) box.current.scrollIntoView()
  }, [found.data])
  return html`<aside class="panel detail" aria-label="The event" ref=${box}>
    <header class="heading"><h2>${found.data?.type ?? `Event ${position}`}</h2><button type="button" class="quiet" aria-label="Close" onClick=${onClose}>✕</button></header>
    <${Loaded} of=${found}>${(event) => html`<div class="stack">
      <${Facts} facts=${[
        ['Position', event.position], ['Source', event.source], ['Time', html`<time title=${event.time}>${clock(event.time)}</time> <span class="soft">${ago(event.time)}</span>`],
        ['Subject', html`<a href=${link('events', { subject: event.subject })}>${event.subject}</a>`],
        ...Object.entries(event.attributes ?? {}),
      ]} />
      <h3>${(event.data?.['@type'] ?? '').split('/').pop()}</h3>
      <${Fields} message=${event.data} />
      <h3>Causes and effects</h3>
      <${Chain} event=${event} onOpen=${onOpen} />
      <details><summary>As JSON</summary><p class="buttons end"><${Copy} text=${JSON.stringify(event, null, 2)} /></p><${Json} value=${event} label="The event as JSON" /></details>
    </div>`}</${Loaded}>
  </aside>`
}
