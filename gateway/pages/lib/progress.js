// How far something is: a bar that screen readers know too.

import { html } from './html.js'
import { sheet } from './sheet.js'

await sheet('./progress.css', import.meta.url)

/** @param {{label: string, text: string, share?: number}} props share: 0 to 1; undefined while it is not known how far there is to go */
export function ProgressBar({ label, text, share }) {
  const now = share === undefined ? undefined : Math.round(Math.min(share, 1) * 100)
  return html`<div class=${`progress ${now === undefined ? 'progress-open' : ''}`} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${now} aria-valuetext=${text}><i style=${{ width: `${now ?? 100}%` }}></i></div>`
}
