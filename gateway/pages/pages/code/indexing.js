// Indexing from the page: runs that this tab began, how far they are, and a form for a folder that is new.

import { Refusal, newId } from '../../lib/api.js'
import { attempt } from '../../lib/dialog.js'
import { bytes, count, duration } from '../../lib/format.js'
import { html, useEffect, useRef, useState } from '../../lib/html.js'
import { ProgressBar } from '../../lib/progress.js'
import { postStream } from '../../lib/sse.js'
import { Signal, useSignal } from '../../lib/store.js'
import { Field } from '../../lib/ui.js'

const TRIES = 5
const PAUSE_MS = 1000
// an error of the run itself, which asking again would not mend
const FAILED = 400

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const nameOf = ({ path, repoId }) => repoId || path
// the stream broke, or its service is on its way back; the run may well go on
const isBroken = (error) => !(error instanceof Refusal) || !error.status || error.status === 503

/** The progress of each run by the name of what it indexes; they go on while other pages are shown. */
export const running = new Signal({})
export const isRunning = (runs, what) => nameOf(what) in runs

function tell(name, progress) {
  const { [name]: _before, ...others } = running.value
  running.value = progress ? { ...others, [name]: progress } : others
}

async function watch(what, id) {
  let last
  const heard = (message) => {
    last = message
    if (message.progress) tell(nameOf(what), message.progress)
  }
  await postStream('/api/v1/context/index', what, heard, { id })
  if (last?.error) throw new Refusal(last.error, FAILED)
  return last?.result
}

/** Watches to the end: a stream that broke is asked for again with the same id, which joins the run or gets its answer. */
async function toTheEnd(what) {
  const id = newId()
  for (let tries = 1; ; tries += 1) {
    try {
      const result = await watch(what, id)
      if (result) return result
      throw new Error('The stream ended before the run did.')
    } catch (error) {
      if (tries === TRIES || !isBroken(error)) throw error
      await pause(PAUSE_MS)
    }
  }
}

const outcome = ({ repository, addedFiles, changedFiles, deletedFiles }) =>
  `${repository.repoId} is indexed: ${count(addedFiles)} new, ${count(changedFiles)} changed, ${count(deletedFiles)} gone, in ${duration(repository.duration)}.`

/** Indexes {path, repoId} and says how it went; gives the answer, or undefined when it was refused. */
export async function begin(what) {
  tell(nameOf(what), {})
  const answer = await attempt(() => toTheEnd(what), outcome)
  tell(nameOf(what))
  return answer
}

function Run({ name, progress }) {
  const { phase = 'starting', done = 0, total = 0, unit = '', bytes: size = 0, elapsed } = progress
  const amount = Number(total) ? `${count(done)} of ${count(total)} ${unit}` : Number(done) ? `${count(done)} ${unit}` : ''
  const text = [phase, amount, Number(size) ? bytes(size) : '', elapsed && duration(elapsed)].filter(Boolean).join(' · ')
  return html`<section class="panel underway" aria-label=${`Indexing ${name}`} data-phase=${phase}>
    <p><strong>Indexing ${name}</strong> <span class="soft">${text}</span></p>
    <${ProgressBar} label=${`Indexing ${name}`} text=${text} share=${Number(total) ? done / total : undefined} /></section>`
}

/** What is being indexed by this tab. */
export function Underway() {
  const runs = useSignal(running)
  return html`<div class="stack">${Object.entries(runs).map(([name, progress]) => html`<${Run} key=${name} name=${name} progress=${progress} />`)}</div>`
}

/** A folder that is new. `onIndexed` gets the repository's id, unless another page was opened meanwhile. */
export function IndexForm({ onIndexed }) {
  const [what, setWhat] = useState({ path: '', repoId: '' })
  const shown = useRef(true)
  useEffect(() => () => {
    shown.current = false
  }, [])
  const busy = isRunning(useSignal(running), what)
  const submit = async (event) => {
    event.preventDefault()
    const answer = await begin(what)
    if (answer && shown.current) onIndexed(answer.repository.repoId)
  }
  const input = (field, more) => html`<input id=${`index-${field}`} value=${what[field]} autocomplete="off" spellcheck="false" aria-describedby=${`index-${field}-hint`} ...${more}
    onInput=${({ currentTarget }) => setWhat({ ...what, [field]: currentTarget.value })} />`
  return html`<form class="index-form" onSubmit=${submit}>
    <${Field} id="index-path" label="Folder" hint="Absolute, or relative to the folder where the mesh was started.">${input('path', { required: true, maxlength: 4096 })}</${Field}>
    <${Field} id="index-repoId" label="Name" hint="Empty: the name of the folder.">${input('repoId', { pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]{0,127}' })}</${Field}>
    <button type="submit" class="primary" disabled=${busy}>${busy ? 'Indexing …' : 'Index'}</button>
  </form>`
}
