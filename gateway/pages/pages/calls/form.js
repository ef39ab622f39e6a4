// A form made from a schema: whatever a message can hold can be given, at any depth; nothing given is left out of what is sent.

import { html, useEffect, useState } from '../../lib/html.js'
import { choicesOf, exampleOf, kindOf, resolved, rulesOf, typeWords } from './contracts.js'

const without = (value, names) => Object.fromEntries(Object.entries(value ?? {}).filter(([name]) => !names.includes(name)))
const withValue = (value, name, next) => (next === undefined ? without(value, [name]) : { ...value, [name]: next })
const idOf = (path) => `f-${path.replace(/[^\w]/g, '-')}`

/** A value that is typed as text and told when it can be read. */
function Typed({ id, value, read, write = String, onChange, invalid, ...rest }) {
  const [text, setText] = useState(value === undefined ? '' : write(value))
  useEffect(() => {
    if (value === undefined) setText('')
    else if (read(text) !== value) setText(write(value))
  }, [value])
  const typed = ({ currentTarget }) => {
    setText(currentTarget.value)
    onChange(currentTarget.value === '' ? undefined : read(currentTarget.value))
  }
  return html`<input id=${id} value=${text} onInput=${typed} aria-invalid=${invalid ? 'true' : undefined} autocomplete="off" spellcheck="false" ...${rest} />`
}

// beyond this a JavaScript number loses digits, so it stays the text that proto3 JSON takes as well
const readInteger = (text) => (Number.isSafeInteger(Number(text)) ? Number(text) : text)
const readNumber = (text) => (Number.isFinite(Number(text)) ? Number(text) : text)

function JsonField({ id, value, onChange }) {
  const [text, setText] = useState(value === undefined ? '' : JSON.stringify(value, null, 2))
  const [wrong, setWrong] = useState('')
  const typed = ({ currentTarget }) => {
    setText(currentTarget.value)
    try {
      onChange(currentTarget.value.trim() ? JSON.parse(currentTarget.value) : undefined)
      setWrong('')
    } catch (error) {
      setWrong(error.message)
    }
  }
  return html`<textarea id=${id} rows="4" value=${text} onInput=${typed} aria-invalid=${wrong ? 'true' : undefined} placeholder="{ }"></textarea>
    ${wrong && html`<p class="bad small">${wrong}</p>`}`
}

function ListField({ api, id, label, schema, value = [], onChange, path, errors }) {
  const change = (index, next) => onChange(value.map((each, at) => (at === index ? next : each)))
  const remove = (index) => onChange(value.length === 1 ? undefined : value.filter((_, at) => at !== index))
  const empty = () => (['message', 'json', 'map'].includes(kindOf(resolved(api, schema.items))) ? exampleOf(api, schema.items, 1) : '')
  return html`<div class="items">${value.map((each, index) => html`<div class="item" key=${index}>
      <div class="grow"><${Value} api=${api} schema=${schema.items} value=${each} onChange=${(next) => change(index, next ?? '')} path=${`${path}[${index}]`} errors=${errors} label=${`${label} ${index + 1}`} /></div>
      <button type="button" class="quiet" onClick=${() => remove(index)}>✕<span class="unseen"> remove ${label} ${index + 1}</span></button></div>`)}
    <button type="button" id=${id} onClick=${() => onChange([...value, empty()])}>Add ${label}</button></div>`
}

function MapField({ api, id, label, schema, value, onChange, path, errors }) {
  const [pairs, setPairs] = useState(Object.entries(value ?? {}))
  const tell = (next) => {
    setPairs(next)
    const named = next.filter(([key]) => key)
    onChange(named.length ? Object.fromEntries(named) : undefined)
  }
  const replace = (index, pair) => tell(pairs.map((each, at) => (at === index ? pair : each)))
  return html`<div class="items">${pairs.map(([key, each], index) => html`<div class="item" key=${index}>
      <input aria-label=${`Key ${index + 1} of ${label}`} placeholder="key" value=${key} onInput=${({ currentTarget }) => replace(index, [currentTarget.value, each])} />
      <div class="grow"><${Value} api=${api} schema=${schema.additionalProperties} value=${each} onChange=${(next) => replace(index, [key, next ?? ''])} path=${`${path}.${key}`} errors=${errors} label=${`Value ${index + 1} of ${label}`} /></div>
      <button type="button" class="quiet" onClick=${() => tell(pairs.filter((_, at) => at !== index))}>✕<span class="unseen"> remove ${key}</span></button></div>`)}
    <button type="button" id=${id} onClick=${() => setPairs([...pairs, ['', '']])}>Add to ${label}</button></div>`
}

function MessageField({ api, id, label, schema, value, onChange, path, errors }) {
  if (value === undefined) return html`<button type="button" id=${id} onClick=${() => onChange({})}>Add ${label}</button>`
  return html`<div class="nested"><${Fields} api=${api} schema=${schema} value=${value} onChange=${onChange} path=${path} errors=${errors} />
    <button type="button" class="quiet" onClick=${() => onChange(undefined)}>Remove ${label}</button></div>`
}

/** The input of one value, whatever it is. `label` names it where there is no visible label of its own. */
function Value({ api, schema, value, onChange, path, errors, id, label, required }) {
  const own = resolved(api, schema)
  const kind = kindOf(own)
  const shared = { api, id, label, value, onChange, path, errors, schema: own }
  const plain = { id, value, onChange, 'aria-label': id ? undefined : label, required, invalid: errors.has(path), 'aria-describedby': id && `${id}-hint` }
  if (kind === 'list') return html`<${ListField} ...${shared} />`
  if (kind === 'map') return html`<${MapField} ...${shared} />`
  if (kind === 'message') return html`<${MessageField} ...${shared} />`
  if (kind === 'json') return html`<${JsonField} ...${shared} />`
  if (kind === 'boolean') return html`<input type="checkbox" id=${id} aria-label=${id ? undefined : label} checked=${value === true} onChange=${({ currentTarget }) => onChange(currentTarget.checked || undefined)} />`
  if (kind === 'enum') {
    return html`<select id=${id} aria-label=${id ? undefined : label} value=${value ?? ''} onChange=${({ currentTarget }) => onChange(currentTarget.value || undefined)}>
      <option value="">${required ? 'choose' : 'as it is by itself'}</option>${own.enum.map((each) => html`<option value=${each}>${each}</option>`)}</select>`
  }
  if (kind === 'integer') return html`<${Typed} ...${plain} inputmode="numeric" read=${readInteger} />`
  if (kind === 'number') return html`<${Typed} ...${plain} inputmode="decimal" read=${readNumber} />`
  const placeholder = { time: '2026-01-31T09:00:00Z', duration: '10s' }[kind] ?? (own.format === 'byte' ? 'base64' : '')
  return html`<${Typed} ...${plain} placeholder=${placeholder} read=${(text) => text} />`
}

/** One field with its name, type, value, and what the contract says of it. */
export function FieldOf({ api, name, schema, required, text, ...shared }) {
  const own = resolved(api, schema)
  const id = idOf(shared.path)
  const wrong = shared.errors.get(shared.path)
  const kind = kindOf(own)
  const hint = [text ?? own.description, rulesOf(own)].filter(Boolean).join(' · ')
  const label = html`${name}${required && html`<span class="bad" aria-hidden="true"> *</span>`} <span class="soft small">${typeWords(api, schema)}</span>`
  // a label would take the place of a button's own words, so what is made of parts is a group with a name
  const parts = ['list', 'map', 'message'].includes(kind)
  return html`<div class=${`field ${kind === 'boolean' ? 'box' : ''}`} role=${parts ? 'group' : undefined} aria-labelledby=${parts ? `${id}-label` : undefined}>
    ${parts ? html`<div class="label" id=${`${id}-label`}>${label}</div>` : html`<label for=${id}>${label}</label>`}
    <${Value} api=${api} schema=${schema} id=${id} label=${name} required=${required} ...${shared} />
    ${wrong ? html`<p class="bad small" id=${`${id}-hint`}>${wrong}</p>` : html`<p class="soft small" id=${`${id}-hint`}>${hint}</p>`}</div>`
}

/** Of these fields one can be given: choose which. */
function Choice({ api, schema, choice, value, onChange, path, errors }) {
  const chosen = choice.names.find((name) => value?.[name] !== undefined) ?? ''
  const [shown, setShown] = useState(chosen)
  const name = chosen || shown
  const id = idOf(`${path}-one-of-${choice.names.join('-')}`)
  const choose = ({ currentTarget }) => {
    const next = currentTarget.value
    setShown(next)
    const rest = without(value, choice.names)
    // what has no text to type must be there to be seen
    const complex = next && ['message', 'list', 'map'].includes(kindOf(resolved(api, schema.properties[next])))
    onChange(complex ? { ...rest, [next]: exampleOf(api, schema.properties[next], 1) } : rest)
  }
  return html`<div class="choice"><div class="field"><label for=${id}>One of ${choice.names.join(', ')}${choice.required && html`<span class="bad" aria-hidden="true"> *</span>`}</label>
    <select id=${id} value=${name} onChange=${choose}><option value="">none</option>${choice.names.map((each) => html`<option value=${each}>${each}</option>`)}</select></div>
    ${name && html`<${FieldOf} key=${name} api=${api} name=${name} schema=${schema.properties[name]} value=${value?.[name]} onChange=${(next) => onChange(withValue(value, name, next))} path=${path ? `${path}.${name}` : name} errors=${errors} />`}</div>`
}

/**
 * All fields of a message: required ones first in sight, as the contract orders them.
 * @param {{api: object, schema: object, value: object, onChange: (value: object) => void, path?: string, errors: Map<string, string>, skip?: string[]}} props
 */
export function Fields({ api, schema, value, onChange, path = '', errors, skip = [] }) {
  const own = resolved(api, schema)
  const choices = choicesOf(own)
  const grouped = choices.flatMap(({ names }) => names)
  const names = Object.keys(own.properties ?? {}).filter((name) => !skip.includes(name) && !grouped.includes(name))
  if (!names.length && !choices.length) return html`<p class="soft">It takes nothing.</p>`
  return html`
    ${choices.map((choice) => html`<${Choice} key=${choice.names[0]} api=${api} schema=${own} choice=${choice} value=${value} onChange=${onChange} path=${path} errors=${errors} />`)}
    ${names.map((name) => html`<${FieldOf} key=${name} api=${api} name=${name} schema=${own.properties[name]} required=${own.required?.includes(name)} value=${value?.[name]}
      onChange=${(next) => onChange(withValue(value, name, next))} path=${path ? `${path}.${name}` : name} errors=${errors} />`)}`
}
