// Addresses of the control room: `#/<page>/<rest…>?<params>`. Everything a page shows should be in its address.

import { Signal } from './store.js'

/** A part of an address as text; one that is mistyped, e.g. cut off after a `%`, stands for itself. */
function decoded(part) {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

function read() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?')
  const [page, ...rest] = path.split('/').map(decoded)
  return { page, rest, params: Object.fromEntries(new URLSearchParams(query)) }
}

/** Where we are: {page, rest: string[], params: {name: text}}. */
export const route = new Signal(read())
addEventListener('hashchange', () => {
  route.value = read()
})

/** The address of a page, for an anchor's href. `where` is a page's name, with further parts as a list. */
export function link(where, params = {}) {
  const path = [where].flat().map(encodeURIComponent).join('/')
  const kept = Object.entries(params).filter(([, value]) => value !== '' && value !== undefined && value !== null && value !== false)
  const query = new URLSearchParams(kept).toString()
  return `#/${path}${query ? `?${query}` : ''}`
}

/** Goes there as if its link was clicked. */
export function go(where, params) {
  location.hash = link(where, params)
}

/** Changes some parameters of where we are, without a step in the history unless `step` is set. */
export function setParams(changes, { step = false } = {}) {
  // from the address itself: a link may have been followed that nobody has heard of yet
  const { page, rest, params } = read()
  const target = link([page, ...rest], { ...params, ...changes })
  if (step) location.hash = target
  else {
    history.replaceState(null, '', target)
    route.value = read()
  }
}
