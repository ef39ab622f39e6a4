// The frame of the control room: navigation, state of the mesh, keys, and the page that the address names.

import { Component, html, render, useEffect, useRef, useState } from './lib/html.js'
import { Above, Dialog } from './lib/dialog.js'
import { allKeys, helpShown, hotkeys } from './lib/keys.js'
import { go, link, route } from './lib/router.js'
import { useSignal } from './lib/store.js'
import { usePoll } from './lib/stream.js'
import { nextTheme, theme } from './lib/theme.js'
import { ErrorState, Heading, Loading } from './lib/ui.js'
import { word } from './lib/format.js'

// The order of the pages and their keys. A page is a module pages/<name>.js; it is shown here when it is there, and a page that this
// list does not know stands behind the others under its own name.
const KNOWN = [
  { name: 'mesh', label: 'Mesh', key: 'm' },
  { name: 'events', label: 'Events', key: 'e' },
  { name: 'runs', label: 'Runs', key: 'r' },
  { name: 'money', label: 'Money', key: 'o' },
  { name: 'learning', label: 'Learning', key: 'l' },
  { name: 'badges', label: 'Badges', key: 'b' },
  { name: 'code', label: 'Code', key: 'd' },
  { name: 'calls', label: 'Calls', key: 'c' },
]
const HERE = document.documentElement.dataset.pages.split(' ').filter(Boolean)
const PAGES = [
  ...KNOWN.filter(({ name }) => HERE.includes(name)),
  ...HERE.filter((name) => !KNOWN.some((known) => known.name === name)).map((name) => ({ name, label: name[0].toUpperCase() + name.slice(1), key: '' })),
]
const HEALTH_EVERY_MS = 2000
// what an address shows that names no page, e.g. one that was mistyped
const NOWHERE = {
  title: 'No such page',
  default: () => html`<${Heading} title="No such page" about="This address names none; these there are:" />
    <ul>${PAGES.map(({ name, label }) => html`<li><a href=${link(name)}>${label}</a></li>`)}</ul>`,
}
const loaded = new Map()

function loadPage(name) {
  if (!PAGES.some((each) => each.name === name)) return Promise.resolve(NOWHERE)
  if (!loaded.has(name)) loaded.set(name, import(`./pages/${name}.js`))
  return loaded.get(name)
}

/** A page that fails says so and leaves the frame alone. */
class Guard extends Component {
  state = { error: undefined }

  componentDidCatch(error) {
    console.error(error)
    this.setState({ error })
  }

  render({ children }, { error }) {
    return error ? html`<${ErrorState} error=${error} onRetry=${() => this.setState({ error: undefined })} />` : children
  }
}

function Page({ name }) {
  const [shown, setShown] = useState({})
  const came = useRef(false)
  useEffect(() => {
    loadPage(name).then((module) => setShown({ name, module }), (error) => {
      loaded.delete(name)
      setShown({ name, error })
    })
  }, [name])
  useEffect(() => {
    if (!shown.module) return
    document.title = `${shown.module.title} · TooLoo`
    // as after a load: the new page from its top, and a screen reader at its heading; the first page leaves the focus where it is
    if (came.current) {
      scrollTo(0, 0)
      document.querySelector('main h1')?.focus({ preventScroll: true })
    }
    came.current = true
  }, [shown])
  if (shown.name !== name) return html`<${Loading} />`
  if (shown.error) return html`<${ErrorState} error=${{ message: 'This page cannot be loaded; is the mesh running?' }} onRetry=${() => location.reload()} />`
  return html`<${Guard} key=${name}><${shown.module.default} /></${Guard}>`
}

/** The links to the pages; where they do not fit side by side, the current one is brought into sight. */
function Navigation({ name }) {
  const box = useRef(null)
  useEffect(() => {
    // not with scrollIntoView(): in some browsers Tab then goes on from there, past the way to the page and the name
    const { left, right } = box.current.getBoundingClientRect()
    const here = box.current.querySelector('[aria-current]')?.getBoundingClientRect()
    if (here) box.current.scrollLeft += Math.min(here.left - left, 0) + Math.max(here.right - right, 0)
  }, [name])
  return html`<nav aria-label="Pages" ref=${box}>${PAGES.map((each) => html`<a href=${link(each.name)} aria-current=${each.name === name ? 'page' : undefined}>${each.label}</a>`)}</nav>`
}

function Health() {
  const { data, status } = usePoll('/health', HEALTH_EVERY_MS)
  if (status.state === 'lost') return html`<span class="state bad" role="status"><i aria-hidden="true"></i>no answer</span>`
  if (!data) return html`<span class="state none" role="status"><i aria-hidden="true"></i>asking</span>`
  const serving = data.services.filter(({ state }) => word(state, 'SERVING_STATE_') === 'serving').length
  const all = serving === data.services.length
  return html`<span class=${`state ${all ? 'good' : 'bad'}`} role="status"><i aria-hidden="true"></i>${serving} of ${data.services.length} serve</span>`
}

function Help() {
  return html`<${Dialog} title="Keys" onClose=${() => { helpShown.value = false }}>
    <dl class="keys">${allKeys().map(({ key, label }) => html`<div><dt>${key.split(' ').map((each) => html`<kbd>${each}</kbd> `)}</dt><dd>${label}</dd></div>`)}</dl>
  </${Dialog}>`
}

const frameKeys = [
  { key: '?', label: 'Show these keys', run: () => { helpShown.value = true } },
  { key: '/', label: 'Search on this page', run: () => document.querySelector('[data-search]')?.focus() },
  { key: 't', label: 'Change the theme', run: nextTheme },
  ...PAGES.filter(({ key }) => key).map(({ name, label, key }) => ({ key: `g ${key}`, label: `Go to ${label}`, run: () => go(name) })),
]
hotkeys(() => frameKeys)

const skip = (event) => {
  event.preventDefault()
  document.getElementById('main').focus()
}

function App() {
  const { page } = useSignal(route)
  const name = page || PAGES[0].name
  const chosen = useSignal(theme)
  const help = useSignal(helpShown)
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the page</a>
    <header class="frame">
      <a class="brand" href="#/"><img src=${new URL('./icon.svg', import.meta.url).href} alt="" width="18" height="18" />TooLoo</a>
      <${Navigation} name=${name} />
      <div class="frame-end">
        <${Health} />
        <a href="/docs/" title="Documentation">Docs</a>
        <button type="button" class="quiet" onClick=${nextTheme} title="Theme (t)">${chosen || 'system'}<span class="unseen"> theme; change it</span></button>
        <button type="button" class="quiet" onClick=${() => { helpShown.value = true }} title="Keys (?)" aria-label="Keys">?</button>
      </div>
    </header>
    <main id="main" tabindex="-1"><${Page} name=${name} /></main>
    ${help && html`<${Help} />`}
    <${Above} />`
}

render(html`<${App} />`, document.getElementById('app'))
