// Lists of the mesh, page by page, and what a page says while there is nothing to list.

import { address, get } from './api.js'
import { html, useCallback, useEffect, useRef, useState } from './html.js'
import { sheet } from './sheet.js'
import { Copy, Empty, ErrorState, Loading } from './ui.js'

await sheet('./paged.css', import.meta.url)

/**
 * A list that is loaded a page at a time: {rows, error, loading, next, more(), reload()}. Reloading keeps as many rows as were shown.
 * @param {string} path
 * @param {object} params
 * @param {string} field name of the list in the answer
 */
export function usePaged(path, params, field, pageSize = 50) {
  const [found, setFound] = useState({ rows: undefined, loading: true, next: '' })
  const shown = useRef(pageSize)
  const key = address(path, params)
  const load = useCallback(async (pageToken, size, signal) => {
    const answer = await get(path, { ...params, pageSize: size, pageToken }, { signal })
    return { rows: answer[field], next: answer.nextPageToken ?? '' }
  }, [key])
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    shown.current = pageSize
    setFound({ rows: undefined, loading: true, next: '' })
  }, [key])
  useEffect(() => {
    const abort = new AbortController()
    load('', Math.min(shown.current, 1000), abort.signal).then(
      (page) => abort.signal.aborted || setFound({ ...page, loading: false }),
      (error) => abort.signal.aborted || setFound((old) => ({ ...old, error, loading: false })),
    )
    return () => abort.abort()
  }, [key, turn])
  const more = async () => {
    const token = found.next
    // what was loaded anew meanwhile, or with another filter, does not go on where this page begins
    const change = (changed) => setFound((old) => (old.next === token ? { ...old, ...changed(old), loading: false } : old))
    setFound((old) => ({ ...old, loading: true }))
    try {
      const page = await load(token, pageSize)
      change(({ rows }) => {
        shown.current = rows.length + page.rows.length
        return { rows: [...rows, ...page.rows], next: page.next }
      })
    } catch (error) {
      change(() => ({ error }))
    }
  }
  return { ...found, more, reload: useCallback(() => setTurn((before) => before + 1), []) }
}

/** What usePaged found: a remark while there is nothing, the error, or what `children` makes of the rows, with a way to more of them. */
export function Paged({ of, children }) {
  if (of.error && of.rows === undefined) return html`<${ErrorState} error=${of.error} onRetry=${of.reload} />`
  if (of.rows === undefined) return html`<${Loading} />`
  return html`${children(of.rows)}${of.next && html`<p class="more"><button type="button" disabled=${of.loading} onClick=${of.more}>Show more</button></p>`}`
}

/** Calls `action` every so many milliseconds while the page is seen. */
export function useEvery(action, everyMs) {
  const newest = useRef(action)
  newest.current = action
  useEffect(() => {
    const timer = setInterval(() => document.hidden || newest.current(), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
}

/** Calls `action` at most once in so many milliseconds, the last time too: for reloads that events ask for. */
export function useRarely(action, everyMs = 500) {
  const timer = useRef(0)
  const newest = useRef(action)
  newest.current = action
  useEffect(() => () => clearTimeout(timer.current), [])
  return useCallback(() => {
    timer.current ||= setTimeout(() => {
      timer.current = 0
      newest.current()
    }, everyMs)
  }, [everyMs])
}

/** A line for a terminal, with a button that copies it. */
export const Line = ({ text }) => html`<div class="shell"><pre tabindex="0"><code>${text}</code></pre><${Copy} text=${text} /></div>`

/** What stands where nothing is yet: what would be here, and the call that brings it. `body` is the JSON of a POST. */
export function Nothing({ title, path, body, children }) {
  const line = `curl -X POST ${location.origin}/api/v1/${path} -d '${JSON.stringify(body)}'`
  return html`<${Empty} title=${title}>${children}<${Line} text=${line} /></${Empty}>`
}
