// Keys without a modifier, when nothing is being typed: those of the frame and those of the page that is shown.

import { Signal } from './store.js'

const sources = new Set()
const CHORD_MS = 1200
let chord = ''
let chordTimer

/** Whether the list of keys is shown. */
export const helpShown = new Signal(false)

/** Adds a source of keys ({key, label, run}[]; "g m" is g, then m); gives the function that takes it out. */
export function hotkeys(source) {
  sources.add(source)
  return () => sources.delete(source)
}

/** All keys of now, the newest source first. */
export const allKeys = () => [...sources].reverse().flatMap((source) => source())

const typing = (target) => target.closest?.('input, textarea, select, [contenteditable]')

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector('dialog[open]')) return
  const wanted = chord ? `${chord} ${event.key}` : event.key
  clearTimeout(chordTimer)
  chord = ''
  const found = allKeys().find(({ key }) => key === wanted)
  if (found) {
    event.preventDefault()
    found.run()
  } else if (allKeys().some(({ key }) => key.startsWith(`${wanted} `))) {
    chord = wanted
    chordTimer = setTimeout(() => { chord = '' }, CHORD_MS)
  }
}
document.addEventListener('keydown', pressed)
