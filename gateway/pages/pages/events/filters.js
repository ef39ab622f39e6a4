// The filter of the stream: type, source, subject and expression; all of it stands in the address.

import { html, useEffect, useState } from '../../lib/html.js'
import { get } from '../../lib/api.js'
import { useLoad } from '../../lib/use.js'

const listOf = (text = '') => text.split(',').map((each) => each.trim()).filter(Boolean)

/** The part of an address that is an EventFilter. */
export const filterOf = ({ types, sources, subject, cel }) => ({
  types: listOf(types), sources: listOf(sources), subjectPrefix: subject ?? '', cel: cel ?? '',
})

/** A text field that tells what it holds when it is left or confirmed, not at each letter: a half-written type fits nothing. */
function Word({ id, label, value = '', placeholder, list, onChange, wide }) {
  const [text, setText] = useState(value)
  useEffect(() => setText(value), [value])
  return html`<input id=${id} aria-label=${label} placeholder=${placeholder} list=${list} value=${text} class=${wide ? 'wide' : ''} spellcheck="false" autocomplete="off"
    data-search=${id === 'types' ? '' : undefined}
    onInput=${({ currentTarget }) => setText(currentTarget.value)} onChange=${({ currentTarget }) => onChange(currentTarget.value.trim())} />`
}

/** The row of fields; `onChange` gets the parameters of the address that changed. */
export function Filters({ params, onChange, children }) {
  const { data } = useLoad((signal) => get('/api/v1/events/catalogue', {}, { signal }), [])
  const types = data?.eventTypes ?? []
  const groups = [...new Set(types.map(({ type }) => `${type.split('.')[0]}.*`))]
  const owners = [...new Set(types.map(({ owner }) => owner))].sort()
  return html`<form class="filters" role="search" aria-label="Filter of the events" onSubmit=${(event) => event.preventDefault()}>
    <datalist id="all-types">${[...groups, ...types.map(({ type }) => type)].map((type) => html`<option value=${type}></option>`)}</datalist>
    <${Word} id="types" label="Types" placeholder="type, e.g. budget.*" value=${params.types} list="all-types" onChange=${(value) => onChange({ types: value })} />
    <select aria-label="Source" value=${params.sources ?? ''} onChange=${({ currentTarget }) => onChange({ sources: currentTarget.value })}>
      <option value="">any source</option>${owners.map((owner) => html`<option value=${owner}>${owner}</option>`)}
    </select>
    <${Word} id="subject" label="Subject begins with" placeholder="subject begins with" value=${params.subject} onChange=${(value) => onChange({ subject: value })} />
    <${Word} id="cel" wide label="Expression in CEL" placeholder="CEL, e.g. data.score < 0.5" value=${params.cel} onChange=${(value) => onChange({ cel: value })} />
    ${children}
  </form>`
}
