// Cards: what is due now, or everything there is; one opens with its forgetting curve.

import { html, useState } from '../../lib/html.js'
import { ago, clock, count, percent, word } from '../../lib/format.js'
import { Paged, usePaged } from '../../lib/paged.js'
import { setParams } from '../../lib/router.js'
import { Empty, Table } from '../../lib/ui.js'

const YEAR = '31622400s'

/** Probability of recall as a bar with its number. */
const Recall = ({ value }) => html`<span class="recall"><i aria-hidden="true"><b style=${{ width: `${value * 100}%` }}></b></i>${percent(value)}</span>`

const columns = [
  { label: 'Card', cell: (card) => html`<span class="mono">${card.cardId}</span>` },
  { label: 'What is asked', cell: (card) => html`<span class="prompt">${card.prompt}</span>`, hide: 'small' },
  { label: 'Recalled now', cell: (card) => html`<${Recall} value=${card.retrievability} />` },
  { label: 'Due', cell: (card) => html`<time class="nowrap" datetime=${card.dueTime} title=${clock(card.dueTime)}>${ago(card.dueTime)}</time>` },
  { label: 'State', cell: (card) => word(card.state, 'CARD_STATE_'), hide: 'small' },
  { label: 'Stability', cell: (card) => html`<span class="nowrap">${card.stability.toFixed(1)} d</span>`, align: 'end', hide: 'small' },
  { label: 'Reviews', cell: (card) => count(card.reviews), align: 'end', hide: 'small' },
]

export function Cards({ user }) {
  const [all, setAll] = useState(false)
  const cards = usePaged('/api/v1/cards/due', { userId: user, within: all ? YEAR : '' }, 'cards', 20)
  const empty = html`<${Empty} title=${all ? 'There is no card yet.' : 'Nothing is due.'}>${!all && html`<button type="button" onClick=${() => setAll(true)}>Show all cards</button>`}</${Empty}>`
  const choice = (value, label) => html`<button type="button" aria-pressed=${String(all === value)} onClick=${() => setAll(value)}>${label}</button>`
  return html`<section aria-labelledby="cards"><header class="heading"><h2 id="cards">Cards</h2>
      <div class="buttons" role="group" aria-label="Which cards">${choice(false, 'due now')}${choice(true, 'all')}</div></header>
    <${Paged} of=${cards}>${(rows) => html`<${Table} caption="Cards by due time; open one for its forgetting curve" columns=${columns} rows=${rows} keyOf=${({ cardId }) => cardId}
      onOpen=${({ cardId }) => setParams({ card: cardId })} empty=${empty} />`}</${Paged}></section>`
}
