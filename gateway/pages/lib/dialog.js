// Dialogs, questions and notices: what stands above a page.

import { html, useEffect, useRef } from './html.js'
import { Signal, useSignal } from './store.js'

const NOTICE_MS = 6000
const question = new Signal(undefined)
const notices = new Signal([])

/** A modal dialog; Escape and the cross close it, and focus goes back to where it was. */
export function Dialog({ title, onClose, wide, children }) {
  const box = useRef(null)
  useEffect(() => {
    const before = document.activeElement
    box.current.showModal()
    return () => before?.isConnected && before.focus()
  }, [])
  return html`<dialog ref=${box} class=${wide ? 'wide' : ''} aria-labelledby="dialog-title" onClose=${onClose}
      onClick=${(event) => event.target === box.current && box.current.close()}>
    <div class="dialog-body">
      <header><h2 id="dialog-title">${title}</h2><button class="quiet" type="button" aria-label="Close" onClick=${() => box.current.close()}>✕</button></header>
      ${children}
    </div>
  </dialog>`
}

/** Asks before something is done: true when it was confirmed. `action` is the word on the button. */
export const ask = ({ title, text, action, danger = false }) =>
  new Promise((answer) => {
    question.value = { title, text, action, danger, answer }
  })

const dismiss = (notice) => {
  notices.value = notices.value.filter((each) => each !== notice)
}

/** Says something, also to screen readers; `kind` is '', 'good' or 'bad'. What is bad stays until it is dismissed, the rest a few seconds. */
export function notify(text, kind = '') {
  const notice = { text, kind }
  notices.value = [...notices.value, notice].slice(-4)
  if (kind !== 'bad') setTimeout(() => dismiss(notice), NOTICE_MS)
}

/** Runs a change and says how it went; gives its answer, or undefined when it was refused. */
export async function attempt(change, done) {
  try {
    const answer = await change()
    if (done) notify(typeof done === 'function' ? done(answer) : done, 'good')
    return answer
  } catch (error) {
    notify(`${error.reason ? `${error.reason}: ` : ''}${error.message}`, 'bad')
    return undefined
  }
}

function Question({ title, text, action, danger, answer }) {
  const settle = (value) => {
    answer(value)
    question.value = undefined
  }
  return html`<${Dialog} title=${title} onClose=${() => settle(false)}>
    <p>${text}</p>
    <div class="buttons end">
      <button type="button" onClick=${() => settle(false)}>Cancel</button>
      <button type="button" class=${danger ? 'danger' : 'primary'} autofocus onClick=${() => settle(true)}>${action}</button>
    </div>
  </${Dialog}>`
}

/** Where the frame shows questions and notices. */
export function Above() {
  const asked = useSignal(question)
  const said = useSignal(notices)
  return html`${asked && html`<${Question} ...${asked} />`}
    <div class="notices" role="status">${said.map((notice) => html`<p class=${`notice ${notice.kind}`}><span>${notice.text}</span>
      ${notice.kind === 'bad' && html`<button class="quiet" type="button" aria-label="Dismiss" onClick=${() => dismiss(notice)}>✕</button>`}</p>`)}</div>`
}
