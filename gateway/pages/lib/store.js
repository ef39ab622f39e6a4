// The smallest store there can be: a value that tells its listeners when it was replaced.

import { useEffect, useState } from '../vendor/hooks.mjs'

export class Signal {
  #value
  #listeners = new Set()

  constructor(value) {
    this.#value = value
  }

  get value() {
    return this.#value
  }

  set value(next) {
    if (Object.is(next, this.#value)) return
    this.#value = next
    for (const listener of [...this.#listeners]) listener(next)
  }

  /** Calls `listener` at each change; gives the function that ends it. */
  subscribe(listener) {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** The signal's value; the component is drawn again when it changes. */
export function useSignal(signal) {
  const [, redraw] = useState(0)
  useEffect(() => {
    redraw((count) => count + 1)
    return signal.subscribe(() => redraw((count) => count + 1))
  }, [signal])
  return signal.value
}

/** A signal that is remembered in this browser under a name. */
export function remembered(name, initial) {
  const stored = localStorage.getItem(`tooloo.${name}`)
  const signal = new Signal(stored ?? initial)
  signal.subscribe((value) => localStorage.setItem(`tooloo.${name}`, value))
  return signal
}
