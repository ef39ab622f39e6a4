// Light, dark, or as the system has it; and the sheet's colours for what is drawn on a canvas.

import { Signal } from './store.js'

const NEXT = { '': 'light', light: 'dark', dark: '' }

/** '' follows the system; early.js has read the same name before the first paint. */
export const theme = new Signal(localStorage.getItem('tooloo.theme') ?? '')

const systemDark = matchMedia('(prefers-color-scheme: dark)')
const inUse = () => theme.value || (systemDark.matches ? 'dark' : 'light')

/** 'light' or 'dark': what is shown, by choice or by the system, which may change at dusk. */
export const scheme = new Signal(inUse())
systemDark.addEventListener('change', () => {
  scheme.value = inUse()
})

/** From system to light to dark and round again. */
export function nextTheme() {
  const chosen = NEXT[theme.value]
  if (chosen) document.documentElement.dataset.theme = chosen
  else delete document.documentElement.dataset.theme
  localStorage.setItem('tooloo.theme', chosen)
  theme.value = chosen
  scheme.value = inUse()
}

/** A token of the sheet, e.g. "good", as a colour that a canvas understands in the theme of now. */
export function colour(token) {
  const probe = document.createElement('span')
  probe.style.color = `var(--${token})`
  document.body.append(probe)
  const value = getComputedStyle(probe).color
  probe.remove()
  return value
}
