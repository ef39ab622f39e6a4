// Mastery of domains, and of the skills of one of them, as intervals: the dot is the level, the bar is where it lies with 95 %.

import { listAll } from '../../lib/api.js'
import { html, useState } from '../../lib/html.js'
import { count, percent } from '../../lib/format.js'
import { Empty, Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

/** A level with its 95 % interval on a line from 0 to 1. */
export function Interval({ mastery }) {
  const { level, levelLow, levelHigh } = mastery
  return html`<div class="interval" role="img" aria-label=${`${percent(level)}, between ${percent(levelLow)} and ${percent(levelHigh)}`}>
    <span style=${{ left: `${levelLow * 100}%`, width: `${(levelHigh - levelLow) * 100}%` }}></span><i style=${{ left: `${level * 100}%` }}></i></div>`
}

const columns = (name, nameOf) => [
  { label: name, cell: nameOf },
  { label: 'Mastery, 95 %', cell: ({ mastery }) => html`<${Interval} mastery=${mastery} />` },
  { label: 'Level', cell: ({ mastery }) => percent(mastery.level), align: 'end' },
  { label: 'Between', cell: ({ mastery }) => html`<span class="nowrap">${Math.round(mastery.levelLow * 100)}–${percent(mastery.levelHigh)}</span>`, align: 'end', hide: 'small' },
  { label: 'Rounds', cell: ({ reviews }) => count(reviews), align: 'end', hide: 'small' },
]

function Skills({ user, domain, title, reviews }) {
  const loaded = useLoad(() => listAll('/api/v1/mastery', { userId: user, domain, pageSize: 1000 }, 'skills'), [user, domain, reviews])
  return html`<h3>Skills of ${title}</h3><${Loaded} of=${loaded}>${(skills) => html`<${Table} caption=${`Mastery of the skills of ${title}`}
    columns=${columns('Skill', (each) => each.title || each.skill)} rows=${skills} keyOf=${({ skill }) => skill} />`}</${Loaded}>`
}

export function Mastery({ user, domains }) {
  const [opened, open] = useState('')
  const domain = domains.find((each) => each.domain === opened)
  const empty = html`<${Empty} title="Nothing is known yet.">The first feedback on a round gives a level.</${Empty}>`
  return html`<section class="panel stack"><h2>Mastery by domain</h2>
    <${Table} caption="Mastery by domain with its 95 % interval" columns=${columns('Domain', (each) => html`${each.title} <span class="soft small">${each.skillsPractised}/${each.skillsTotal}</span>`)}
      rows=${domains} keyOf=${(each) => each.domain} opened=${opened} onOpen=${(each) => open(each.domain === opened ? '' : each.domain)} empty=${empty} />
    ${domain && html`<${Skills} user=${user} domain=${domain.domain} title=${domain.title} reviews=${domain.reviews} />`}
  </section>`
}
