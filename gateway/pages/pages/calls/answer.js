// Making a call from the page, and what came back: the answer, the messages of a stream, or the refusal, with how long it took.

import { html } from '../../lib/html.js'
import { Refusal, refusalOf } from '../../lib/api.js'
import { bytes, count, duration } from '../../lib/format.js'
import { readSse } from '../../lib/sse.js'
import { Copy, Json } from '../../lib/ui.js'
import { httpOf } from './request.js'

const MESSAGES_KEPT = 200

const parsed = (text) => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/**
 * Makes the call and tells how it goes: {state: 'running' | 'streaming' | 'done' | 'refused' | 'stopped', …}.
 * @param {(change: object) => void} tell
 */
export async function make(call, filled, signal, tell) {
  const began = performance.now()
  const took = () => (performance.now() - began) / 1000
  const { url, ...options } = httpOf(call, filled)
  tell({ state: 'running' })
  try {
    const response = await fetch(url, { ...options, signal })
    const shared = { status: response.status, type: response.headers.get('content-type') ?? '', traced: response.headers.get('x-request-id') }
    if (!response.ok) return tell({ state: 'refused', took: took(), refusal: await refusalOf(response), ...shared })
    if (shared.type.startsWith('text/event-stream')) return await streamed(response, shared, took, tell)
    const text = await response.text()
    return tell({ state: 'done', took: took(), size: text.length, value: parsed(text), ...shared })
  } catch (error) {
    if (error.name === 'AbortError') return tell({ state: 'stopped', took: took() })
    return tell({ state: 'refused', took: took(), refusal: new Refusal({ message: 'The mesh does not answer.' }) })
  }
}

async function streamed(response, shared, took, tell) {
  const first = took()
  let [messages, total] = [[], 0]
  tell({ state: 'streaming', messages, total, first, ...shared })
  await readSse(response, (heard) => {
    total += heard.length
    messages = [...messages, ...heard.map(({ data }) => parsed(data))].slice(-MESSAGES_KEPT)
    tell({ state: 'streaming', messages, total, first, ...shared })
  })
  tell({ state: 'done', messages, total, first, took: took(), ...shared })
}

/** The fields that a refusal names, by their path in the form. */
export function errorsOf(answer) {
  const camel = (field) => field.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
  return new Map((answer?.refusal?.violations ?? []).map(({ field, description }) => [camel(field), description]))
}

function Refused({ refusal, status }) {
  return html`<div class="refusal" role="alert"><p><strong>${refusal.reason}</strong> <span class="soft">HTTP ${status}, code ${refusal.code}</span></p><p>${refusal.message}</p>
    ${refusal.violations.length > 0 && html`<ul>${refusal.violations.map(({ field, description }) => html`<li><code>${field}</code> ${description}</li>`)}</ul>`}</div>
    <details><summary>Details</summary><${Json} value=${refusal.details} label="Details of the refusal" /></details>`
}

/** What is known of the call so far. */
export function Answer({ answer, onStop }) {
  const { state, took, size, status, value, messages, total, first, refusal, traced } = answer
  const facts = [status && `HTTP ${status}`, took !== undefined && duration(took), size !== undefined && bytes(size), messages && `${count(total)} messages, the first answer after ${duration(first)}`]
  return html`<section class="answer" aria-label="Answer" data-state=${state}>
    <p class="line"><span role="status">${state === 'running' ? 'Asking …' : state === 'streaming' ? 'Streaming' : state === 'stopped' ? 'Stopped' : state === 'refused' ? 'Refused' : 'Answered'}
      <span class="soft"> ${facts.filter(Boolean).join(' · ')}</span></span>
      ${(state === 'streaming' || state === 'running') && html`<button type="button" onClick=${onStop}>Stop</button>`}
      ${value !== undefined && html`<${Copy} text=${typeof value === 'string' ? value : JSON.stringify(value, null, 2)} />`}</p>
    ${refusal && html`<${Refused} refusal=${refusal} status=${status} />`}
    ${value !== undefined && html`<${Json} value=${value} label="Answer" />`}
    ${messages && html`<div class="messages">${messages.map((message, index) => html`<${Json} key=${total - messages.length + index} value=${message} label=${`Message ${total - messages.length + index + 1}`} />`)}</div>`}
    ${traced && html`<p class="soft small">Request id <code>${traced}</code>: the door's access log has it.</p>`}
  </section>`
}
