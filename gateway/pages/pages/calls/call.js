// One call: what it does, a form for what it takes, the answer, and the same as code.

import { html, useEffect, useRef, useState } from '../../lib/html.js'
import { newId } from '../../lib/api.js'
import { link } from '../../lib/router.js'
import { Copy, Tabs } from '../../lib/ui.js'
import { Answer, errorsOf, make } from './answer.js'
import { exampleOf, kindOf, resolved } from './contracts.js'
import { FieldOf, Fields } from './form.js'
import { Schema } from './schema.js'
import { SNIPPETS } from './snippets.js'

// what was typed into a call's form stays for this visit
const kept = new Map()
const NOTHING = new Map()

/** What the form begins with: what was typed before, else what the address gives. */
function beginning(call, given) {
  if (kept.has(call.rpc)) return kept.get(call.rpc)
  const filled = { parameters: {}, body: undefined, id: newId() }
  const own = call.body ? resolved(call.api, call.body) : { properties: {} }
  for (const [name, text] of Object.entries(given)) {
    const parameter = call.parameters.find((each) => each.name === name)
    if (parameter) filled.parameters[name] = readAs(resolved(call.api, parameter.schema), text)
    else if (own.properties?.[name]) filled.body = { ...filled.body, [name]: readAs(resolved(call.api, own.properties[name]), text) }
  }
  return filled
}

function readAs(schema, text) {
  const kind = kindOf(schema)
  if (kind === 'boolean') return text === 'true' || undefined
  if (kind === 'integer' || kind === 'number') return Number.isSafeInteger(Number(text)) || kind === 'number' ? Number(text) : text
  if (kind === 'list') return text.split(',')
  return text
}

function Parameters({ call, filled, change, errors }) {
  const set = (name, value) => change({ ...filled, parameters: { ...filled.parameters, [name]: value } })
  return call.parameters.filter(({ name }) => name !== 'requestId').map(({ name, schema, required, text }) => html`<${FieldOf} key=${name} api=${call.api} name=${name} schema=${schema} required=${required} text=${text}
    value=${filled.parameters[name]} onChange=${(value) => set(name, value)} path=${name} errors=${errors} />`)
}

function Raw({ call, filled, change }) {
  return html`<div class="field"><label for="raw-type">Content type</label>
      <select id="raw-type" value=${filled.rawType ?? call.bodyTypes[0]} onChange=${({ currentTarget }) => change({ ...filled, rawType: currentTarget.value, raw: filled.raw ?? '' })}>${call.bodyTypes.map((each) => html`<option value=${each}>${each}</option>`)}</select></div>
    <div class="field"><label for="raw">Body</label><textarea id="raw" rows="8" value=${filled.raw ?? ''} onInput=${({ currentTarget }) => change({ ...filled, raw: currentTarget.value, rawType: filled.rawType ?? call.bodyTypes[0] })}></textarea></div>`
}

function AsJson({ filled, change }) {
  const [text, setText] = useState(JSON.stringify(filled.body ?? {}, null, 2))
  const [wrong, setWrong] = useState('')
  const typed = ({ currentTarget }) => {
    setText(currentTarget.value)
    try {
      change({ ...filled, body: JSON.parse(currentTarget.value) })
      setWrong('')
    } catch (error) {
      setWrong(error.message)
    }
  }
  return html`<div class="field"><label for="as-json">Body</label><textarea id="as-json" rows="12" value=${text} onInput=${typed} aria-invalid=${wrong ? 'true' : undefined}></textarea>${wrong && html`<p class="bad small">${wrong}</p>`}</div>`
}

function Code({ call, filled }) {
  const [chosen, setChosen] = useState('curl')
  const possible = Object.entries(SNIPPETS).filter(([id]) => call.path || id !== 'curl')
  const current = possible.some(([id]) => id === chosen) ? chosen : possible[0][0]
  const text = SNIPPETS[current][1](call, filled)
  return html`<section class="panel" aria-label="The call as code">
    <div class="heading"><${Tabs} label="As what" tabs=${possible.map(([id, [label]]) => ({ id, label }))} current=${current} onChange=${setChosen} /><${Copy} text=${text} /></div>
    <div role="tabpanel" aria-labelledby=${`tab-${current}`}><pre tabindex="0" role="region" aria-label="Code" data-snippet=${current}>${text}</pre></div></section>`
}

function Try({ call, filled, change }) {
  const [answer, setAnswer] = useState(undefined)
  const [json, setJson] = useState(false)
  const abort = useRef(undefined)
  useEffect(() => () => abort.current?.abort(), [])
  const send = async (event) => {
    event.preventDefault()
    abort.current?.abort()
    abort.current = new AbortController()
    const current = abort.current
    await make(call, filled, current.signal, (news) => abort.current === current && setAnswer(news))
    // the next one is another request; a refused one may be sent again as what it was
    if (call.keyed) change((before) => ({ ...before, id: newId() }))
  }
  const errors = answer?.refusal ? errorsOf(answer) : NOTHING
  const example = () => change({ ...filled, body: call.body && exampleOf(call.api, call.body), parameters: Object.fromEntries(call.parameters.filter(({ required }) => required).map(({ name, schema }) => [name, exampleOf(call.api, schema)])) })
  const raw = call.bodyTypes.length > 0 && !(call.body && (call.body.$ref || call.body.properties))
  return html`<form class="panel" aria-label="Try the call" onSubmit=${send} novalidate>
    <header class="heading"><h3>Request</h3><div class="buttons">${call.body && !raw && html`<button type="button" class="quiet" aria-pressed=${String(json)} onClick=${() => setJson(!json)}>As JSON</button>`}
      <button type="button" class="quiet" onClick=${example}>Fill in an example</button></div></header>
    <${Parameters} call=${call} filled=${filled} change=${change} errors=${errors} />
    ${raw ? html`<${Raw} call=${call} filled=${filled} change=${change} />` : call.body && (json ? html`<${AsJson} filled=${filled} change=${change} />`
      : html`<${Fields} api=${call.api} schema=${call.body} value=${filled.body} onChange=${(body) => change({ ...filled, body })} errors=${errors} skip=${['requestId']} />`)}
    ${!call.body && !raw && !call.parameters.length && html`<p class="soft">It takes nothing.</p>`}
    ${call.keyed && html`<p class="soft small">Request id <code>${filled.id}</code>, made anew after each answer: sent twice, a write is done once.</p>`}
    <div class="buttons"><button type="submit" class="primary">${call.streams ? 'Follow' : 'Call'}</button></div>
    ${answer && html`<${Answer} answer=${answer} onStop=${() => abort.current?.abort()} />`}
  </form>`
}

/** The page of one call; `given` are parameters of the address that fill its form. */
export function Call({ call, given }) {
  const [filled, setFilled] = useState(() => beginning(call, given))
  useEffect(() => {
    kept.set(call.rpc, filled)
  }, [filled])
  return html`<article class="stack" aria-label=${call.name}>
    <p class="back"><a href=${link('calls', { q: given.q })}>All calls</a></p>
    <header><h2 class="call-name">${call.name}</h2><p><span class=${`verb ${call.verb.toLowerCase()}`}>${call.verb}</span> <code>${call.path || call.rpc}</code> ${call.streams && html`<span class="tag">stream</span>`}</p>
      <p>${call.text}</p><p class="soft small"><code>${call.rpc}</code></p></header>
    ${call.path ? html`<${Try} call=${call} filled=${filled} change=${setFilled} />` : html`<p class="panel">A browser cannot make this call: it is a stream of gRPC in both directions, or one that has its own form for the web.</p>`}
    <${Code} call=${call} filled=${filled} />
    ${call.answer && html`<section class="panel"><h3>Answer</h3><p class="soft">${call.answerText}</p><${Schema} api=${call.api} schema=${call.answer} /></section>`}
  </article>`
}
