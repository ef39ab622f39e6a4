// Events as a list: one line each.

import { Component, html } from '../../lib/html.js'
import { clock, count } from '../../lib/format.js'

/** A row is drawn once: an event never changes. */
class Row extends Component {
  shouldComponentUpdate(next) {
    return next.opened !== this.props.opened
  }

  render({ event, opened, onOpen }) {
    return html`<li class=${opened ? 'opened' : ''}><button type="button" class="link event" aria-current=${opened ? 'true' : undefined} onClick=${() => onOpen(event)}>
      <time>${clock(event.time)}</time><span class=${`type s-${hue(event.source)}`}>${event.type}</span><span class="subject">${event.subject}</span>
      <span class="soft">${event.source}</span><span class="soft end">${count(event.position)}</span></button></li>`
  }
}

/** One of six colours by name, so that a source looks the same everywhere. */
const hue = (source) => [...source].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 6

/** The events as a list of rows. */
export const Rows = ({ events, opened, onOpen }) => html`<ol class="events" aria-label="Events, newest first">
  ${events.map((event) => html`<${Row} key=${event.position} event=${event} opened=${event.position === opened} onOpen=${onOpen} />`)}</ol>`
