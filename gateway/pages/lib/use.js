// Hooks that every page needs: loading an answer, a clock that ticks, keys.

import { useCallback, useEffect, useRef, useState } from '../vendor/hooks.mjs'
import { hotkeys } from './keys.js'

/**
 * Loads something whenever `deps` change: {data, error, loading, reload}. The answer before stays while a new one is on its way.
 * @param {(signal: AbortSignal) => Promise<any>} load
 */
export function useLoad(load, deps) {
  const [found, setFound] = useState({ loading: true })
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    const abort = new AbortController()
    setFound((old) => ({ ...old, loading: true }))
    load(abort.signal).then(
      (data) => abort.signal.aborted || setFound({ data, loading: false }),
      (error) => abort.signal.aborted || setFound((old) => ({ data: old.data, error, loading: false })),
    )
    return () => abort.abort()
  }, [...deps, turn])
  return { ...found, reload: useCallback(() => setTurn((before) => before + 1), []) }
}

/** Draws the component again every so many milliseconds, for what shows an age. */
export function useTicker(everyMs) {
  const [, redraw] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => document.hidden || redraw((count) => count + 1), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
}

/**
 * Keys of a page while it is shown; they are listed by `?`.
 * @param {{key: string, label: string, run: () => void}[]} keys
 */
export function useKeys(keys) {
  const newest = useRef(keys)
  newest.current = keys
  useEffect(() => hotkeys(() => newest.current), [])
}
