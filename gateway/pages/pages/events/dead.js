// Dead letters: what a subscription could not handle, why, and what to do about it.

import { html, useEffect, useState } from '../../lib/html.js'
import { listAll, post } from '../../lib/api.js'
import { ask, attempt, Dialog } from '../../lib/dialog.js'
import { clock, count } from '../../lib/format.js'
import { link, route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { Empty, Facts, Json, Loaded, Loading, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const SHOWN = 500
const EVERY_MS = 3000
const REASONS = { max_deliveries: 'all deliveries failed', parked: 'parked by its handler', filter_failed: 'the filter failed on it' }

const wanted = (letters) => (letters === 'all' ? { all: true } : { positions: letters.map(({ position }) => position) })
const many = (letters, total) => (letters === 'all' ? `all ${count(total)} dead letters` : 'this dead letter')

async function redrive(subscription, letters) {
  const answer = await attempt(() => post(`/api/v1/subscriptions/${subscription}/dead-letters/redrive`, wanted(letters)),
    ({ redriven }) => `${count(redriven)} given out again.`)
  return Boolean(answer)
}

async function drop(subscription, letters, total) {
  const sure = await ask({ title: `Drop ${many(letters, total)}?`, text: `${subscription} will never handle what is dropped. The events stay in the log.`, action: 'Drop', danger: true })
  return sure && Boolean(await attempt(() => post(`/api/v1/subscriptions/${subscription}/dead-letters/drop`, wanted(letters)), ({ dropped }) => `${count(dropped)} dropped.`))
}

function Letter({ letter, onClose, onRedrive, onDrop }) {
  return html`<${Dialog} wide title=${letter.event?.type ?? `Position ${letter.position}`} onClose=${onClose}><div class="stack">
    <${Facts} facts=${[['Subscription', letter.subscription], ['Position', html`<a href=${link('events', { event: letter.position })}>${count(letter.position)}</a>`],
      ['Reason', REASONS[letter.reason] ?? letter.reason], ['Deliveries', letter.attempts], ['Dead since', clock(letter.createTime)], ['Subject', letter.event?.subject]]} />
    ${letter.lastError && html`<pre tabindex="0" role="region" aria-label="Last error">${letter.lastError}</pre>`}
    <${Json} value=${letter.event?.data ?? {}} label="Payload" />
    <div class="buttons end"><button type="button" class="danger" onClick=${onDrop}>Drop</button><button type="button" class="primary" onClick=${onRedrive}>Redrive</button></div>
  </div></${Dialog}>`
}

function Letters({ subscription, total }) {
  const found = useLoad((signal) => listAll(`/api/v1/subscriptions/${subscription}/dead-letters`, { pageSize: 200 }, 'deadLetters', SHOWN, { signal }), [subscription, total])
  const [opened, setOpened] = useState(undefined)
  useEffect(() => {
    const timer = setInterval(() => document.hidden || found.reload(), EVERY_MS)
    return () => clearInterval(timer)
  }, [subscription])
  const act = async (change) => {
    if (!(await change)) return
    setOpened(undefined)
    found.reload()
  }
  const columns = [
    { label: 'Event', cell: ({ event, position }) => event?.type ?? count(position) },
    { label: 'Subject', hide: 'small', cell: ({ event }) => event?.subject },
    { label: 'Reason', cell: ({ reason }) => REASONS[reason] ?? reason },
    { label: 'Last error', hide: 'small', cell: ({ lastError }) => html`<span class="soft">${lastError}</span>` },
    { label: 'Deliveries', align: 'end', hide: 'small', cell: ({ attempts }) => attempts },
    { label: 'Since', hide: 'small', cell: ({ createTime }) => html`<span class="nowrap">${clock(createTime)}</span>` },
    { label: '', align: 'end', cell: (letter) => html`<button type="button" onClick=${(event) => { event.stopPropagation(); act(redrive(subscription, [letter])) }}>Redrive<span class="unseen"> ${letter.position}</span></button>` },
  ]
  return html`<${Loaded} of=${found}>${(letters) => html`
    <div class="filters"><button type="button" disabled=${!letters.length} onClick=${() => act(redrive(subscription, 'all'))}>Redrive all</button>
      <button type="button" class="danger" disabled=${!letters.length} onClick=${() => act(drop(subscription, 'all', total))}>Drop all</button>
      <span class="soft">${letters.length >= SHOWN ? `the oldest ${count(letters.length)} of ${count(total)}` : `${count(letters.length)} in all`}</span></div>
    <${Table} caption=${`Dead letters of ${subscription}`} columns=${columns} rows=${letters} keyOf=${({ position }) => position} onOpen=${setOpened} opened=${opened?.position}
      empty=${html`<${Empty} title="No dead letters.">${subscription} has handled everything it was given.</${Empty}>`} />
    ${opened && html`<${Letter} letter=${opened} onClose=${() => setOpened(undefined)} onRedrive=${() => act(redrive(subscription, [opened]))} onDrop=${() => act(drop(subscription, [opened]))} />`}
  `}</${Loaded}>`
}

export function DeadLetters({ subscriptions }) {
  const { params } = useSignal(route)
  if (!subscriptions) return html`<${Loading} />`
  const byDead = [...subscriptions].sort((one, other) => Number(other.deadLetters) - Number(one.deadLetters))
  const chosen = subscriptions.find(({ name }) => name === params.subscription) ?? byDead[0]
  if (!chosen) return html`<${Empty} title="Nobody reads the log, so nothing can fail." />`
  return html`
    <div class="filters"><label for="subscription" class="soft">Subscription</label>
      <select id="subscription" value=${chosen.name} onChange=${({ currentTarget }) => setParams({ subscription: currentTarget.value })}>
        ${byDead.map(({ name, deadLetters }) => html`<option value=${name}>${name} (${count(deadLetters)})</option>`)}</select></div>
    <${Letters} key=${chosen.name} subscription=${chosen.name} total=${chosen.deadLetters} />`
}
