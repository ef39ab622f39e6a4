// What a message holds, unfolded step by step, so that recursion does no harm.

import { html, useState } from '../../lib/html.js'
import { kindOf, resolved, rulesOf, typeWords } from './contracts.js'

function inner(api, schema) {
  const own = resolved(api, schema)
  const kind = kindOf(own)
  if (kind === 'list') return inner(api, own.items)
  if (kind === 'map') return inner(api, own.additionalProperties)
  return kind === 'message' || kind === 'enum' ? own : undefined
}

function Entry({ api, name, schema }) {
  const [open, setOpen] = useState(false)
  const own = resolved(api, schema)
  const nested = inner(api, schema)
  const label = html`<code>${name}</code> <span class="soft small">${typeWords(api, schema)} ${rulesOf(own)}</span>`
  return html`<li>${nested ? html`<details onToggle=${({ currentTarget }) => setOpen(currentTarget.open)}><summary>${label}</summary>${open && html`<${Schema} api=${api} schema=${nested} />`}</details>` : label}
    ${own.description && html`<div class="soft small">${own.description}</div>`}</li>`
}

/** The fields of a message or the values of an enum, each with what the contract says of it. */
export function Schema({ api, schema }) {
  const own = resolved(api, schema)
  if (own.enum) return html`<p class="small"><code>${own.enum.join(', ')}</code></p>`
  const fields = Object.entries(own.properties ?? {})
  return fields.length ? html`<ul class="schema">${fields.map(([name, field]) => html`<${Entry} key=${name} api=${api} name=${name} schema=${field} />`)}</ul>` : html`<p class="soft">Nothing.</p>`
}
