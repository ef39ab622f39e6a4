// The parts that pages are made of.

import { html, useEffect, useRef, useState } from './html.js'
import { notify } from './dialog.js'
import { word } from './format.js'

const STATES = {
  good: ['serving', 'live', 'active', 'succeeded', 'completed', 'healthy', 'ok', 'ready', 'enabled', 'closed'],
  warn: ['starting', 'paused', 'waiting', 'pending', 'connecting', 'running', 'degraded', 'retrying', 'due', 'half open', 'queued'],
  bad: ['not serving', 'crashed', 'failed', 'lost', 'refused', 'unhealthy', 'dead', 'open', 'exceeded', 'timed out'],
}

/** good, warn, bad or none for the word of a state. */
export const toneOf = (text) => Object.keys(STATES).find((tone) => STATES[tone].includes(text)) ?? 'none'

/** A state by colour and by word. `prefix` is what an enum's values begin with; `tone` where the word does not tell. */
export function State({ value = '', prefix = '', tone }) {
  const text = word(value, prefix)
  return html`<span class=${`state ${tone ?? toneOf(text)}`}><i aria-hidden="true"></i>${text || 'unknown'}</span>`
}

/** The head of a page: its title, a line about it, and what can be done. */
export function Heading({ title, about, children }) {
  return html`<header class="heading"><div><h1 tabindex="-1">${title}</h1>${about && html`<p class="soft">${about}</p>`}</div>
    <div class="buttons">${children}</div></header>`
}

export const Loading = ({ what = 'Loading' }) => html`<p class="filler soft" role="status">${what} …</p>`
export const Empty = ({ title, children }) => html`<div class="filler"><p><strong>${title}</strong></p><div class="soft">${children}</div></div>`

/** Why something is not shown, with a way to try again. */
export function ErrorState({ error, onRetry }) {
  return html`<div class="filler bad" role="alert">
    <p><strong>${error.message || 'Something went wrong.'}</strong></p>
    ${error.reason && html`<p><code>${error.reason}</code></p>`}
    ${error.violations?.length > 0 && html`<ul>${error.violations.map(({ field, description }) => html`<li><code>${field}</code> ${description}</li>`)}</ul>`}
    ${onRetry && html`<button type="button" onClick=${onRetry}>Try again</button>`}
  </div>`
}

/** What useLoad found, as a whole: a remark while there is nothing, the error, or what `children` makes of the data. */
export function Loaded({ of, children }) {
  if (of.error && of.data === undefined) return html`<${ErrorState} error=${of.error} onRetry=${of.reload} />`
  return of.data === undefined ? html`<${Loading} />` : children(of.data)
}

/**
 * A table. A row that opens something is a button in its first cell's place for keyboards, and the whole row for pointers.
 * @param {{caption: string, columns: {label: string, cell: (row: any) => any, align?: 'end', hide?: 'small'}[], rows: any[], keyOf: (row: any) => string,
 *   onOpen?: (row: any) => void, opened?: string, empty?: any}} props
 */
export function Table({ caption, columns, rows, keyOf, onOpen, opened, empty }) {
  if (!rows.length && empty) return empty
  const classOf = ({ align, hide }) => [align, hide && `hide-${hide}`].filter(Boolean).join(' ')
  return html`<div class="table" tabindex="0" role="region" aria-label=${caption}><table>
    <caption class="unseen">${caption}</caption>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${classOf(column)}>${column.label}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${keyOf(row)} class=${onOpen ? `opens ${opened === keyOf(row) ? 'opened' : ''}` : ''}
        onClick=${onOpen && (() => onOpen(row))}>
      ${columns.map((column, index) => html`<td class=${classOf(column)}>${onOpen && !index
        ? html`<button type="button" class="link" onClick=${(event) => { event.stopPropagation(); onOpen(row) }}>${column.cell(row)}</button>`
        : column.cell(row)}</td>`)}
    </tr>`)}</tbody>
  </table></div>`
}

/** Tabs: arrows move between them. The panel is the caller's: give it role="tabpanel" and aria-labelledby={`tab-${current}`}. */
export function Tabs({ label, tabs, current, onChange }) {
  const box = useRef(null)
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    const at = tabs.findIndex(({ id }) => id === current)
    onChange(tabs[(at + step + tabs.length) % tabs.length].id)
    requestAnimationFrame(() => box.current?.querySelector('[aria-selected=true]')?.focus())
  }
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${box} onKeyDown=${move}>
    ${tabs.map(({ id, label: text, count }) => html`<button type="button" role="tab" id=${`tab-${id}`} aria-selected=${String(id === current)}
      tabindex=${id === current ? 0 : -1} onClick=${() => onChange(id)}>${text}${count !== undefined && html` <span class="count">${count}</span>`}</button>`)}
  </div>`
}

/** Facts as pairs of a label and a value; those without a value are left out. */
export const Facts = ({ facts }) => html`<dl class="facts">${facts.filter(([, value]) => value !== undefined && value !== '' && value !== null)
  .map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`

/** A labelled input; `hint` stands below it, `error` instead of it. */
export function Field({ label, hint, error, children, id }) {
  return html`<div class="field"><label for=${id}>${label}</label>${children}
    ${error ? html`<p class="bad small" id=${`${id}-hint`}>${error}</p>` : hint && html`<p class="soft small" id=${`${id}-hint`}>${hint}</p>`}</div>`
}

/** Copies a text; where the browser keeps the clipboard from us, says so. */
export function Copy({ text, label = 'Copy' }) {
  const [done, setDone] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
      setDone(true)
      setTimeout(() => setDone(false), 1500)
    } catch {
      notify('This browser does not let the page copy; select the text instead.', 'bad')
    }
  }
  return html`<button type="button" class="quiet" onClick=${copy}>${done ? 'Copied' : label}</button>`
}

/** A line of values without axes; `label` says what it shows. */
export function Sparkline({ values, label, width = 96, height = 22 }) {
  const top = Math.max(...values, 1e-9)
  const points = values.map((value, index) => `${((index / Math.max(values.length - 1, 1)) * width).toFixed(1)},${(height - 1 - (value / top) * (height - 3)).toFixed(1)}`)
  return html`<svg class="spark" role="img" aria-label=${label} width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>
    <polyline points=${points.join(' ')} fill="none" stroke="currentColor" stroke-width="1.3" /></svg>`
}

const TOKEN = /("(?:\\.|[^"\\])*"(?:\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g
const classOfToken = (token) => (token.endsWith(':') ? 'key' : token.startsWith('"') ? 'text' : /^[tfn]/.test(token) ? 'word' : 'number')

/** A value as JSON, with its parts in colour. */
export function Json({ value, label = 'JSON' }) {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
  const parts = text.length > 100_000 ? [text] : text.split(TOKEN)
  return html`<pre class="json" tabindex="0" role="region" aria-label=${label}>${parts.map((part, index) => (index % 2 ? html`<span class=${`j-${classOfToken(part)}`}>${part}</span>` : part))}</pre>`
}

/** The search of a page: "/" goes there. Typing is told after a short rest. */
export function Search({ label, value, onChange, placeholder }) {
  const [text, setText] = useState(value)
  const timer = useRef(0)
  useEffect(() => setText(value), [value])
  const typed = ({ currentTarget }) => {
    setText(currentTarget.value)
    clearTimeout(timer.current)
    const wanted = currentTarget.value
    timer.current = setTimeout(() => onChange(wanted), 150)
  }
  return html`<input class="search" type="search" aria-label=${label} placeholder=${placeholder ?? label} data-search autocomplete="off" spellcheck="false"
    value=${text} onInput=${typed} />`
}
