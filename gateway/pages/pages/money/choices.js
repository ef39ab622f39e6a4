// Choices: the newest selections, and why one chose what it chose — every model with the parts of its score, or why it was out.

import { get } from '../../lib/api.js'
import { Dialog } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago, clock, count, money, word } from '../../lib/format.js'
import { Nothing, Paged, usePaged, useRarely } from '../../lib/paged.js'
import { route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { useEvents } from '../../lib/stream.js'
import { Empty, Facts, Loaded, Search, Table } from '../../lib/ui.js'
import { useLoad, useTicker } from '../../lib/use.js'

const EXAMPLE = { userId: 'ada', query: 'Explain decorators', focusArea: 'python', estimatedTokens: 500 }
const PARTS = ['cost', 'quality', 'speed', 'uptime']
const isIn = ({ exclusion }) => exclusion === 'EXCLUSION_REASON_UNSPECIFIED'
const nameOf = ({ providerId, model }) => `${providerId}/${model}`

const columns = [
  { label: 'Chosen', cell: (each) => nameOf(each) },
  { label: 'For', cell: (each) => each.userId || '–' },
  { label: 'About', cell: (each) => each.focusArea || '–', hide: 'small' },
  { label: 'How', cell: (each) => word(each.strategy, 'STRATEGY_') },
  { label: 'Estimate', cell: (each) => money(each.estimatedCost), align: 'end' },
  { label: 'Tokens', cell: (each) => count(each.estimatedTokens), align: 'end', hide: 'small' },
  { label: 'When', cell: (each) => html`<time class="nowrap" datetime=${each.createTime} title=${clock(each.createTime)}>${ago(each.createTime)}</time>` },
]

/** A score as a bar of its parts: each as wide as what it adds. */
function Score({ candidate }) {
  const weights = PARTS.reduce((sum, part) => sum + candidate.parts[part].weight, 0)
  const said = PARTS.map((part) => `${part} ${candidate.parts[part].value.toFixed(2)}`).join(', ')
  return html`<div class="score"><span class="score-bar" role="img" aria-label=${`score ${candidate.score.toFixed(3)}: ${said}`}>
      ${PARTS.map((part) => html`<i class=${part} style=${{ width: `${((candidate.parts[part].value * candidate.parts[part].weight) / weights) * 100}%` }} title=${`${part} ${candidate.parts[part].value.toFixed(2)} × ${candidate.parts[part].weight}`}></i>`)}
    </span><strong>${candidate.score.toFixed(3)}</strong></div>`
}

const rankColumns = (chosen) => [
  { label: 'Model', cell: (each) => html`${nameOf(each)}${nameOf(each) === chosen && html` <span class="tag chosen">chosen</span>`}` },
  { label: 'Score', cell: (each) => html`<${Score} candidate=${each} />` },
  ...PARTS.map((part) => ({ label: part, cell: (each) => each.parts[part].value.toFixed(2), align: 'end', hide: 'small' })),
  { label: 'Estimate', cell: (each) => money(each.estimatedCost), align: 'end' },
]
const outColumns = (chosen) => [
  { label: 'Model', cell: (each) => html`${nameOf(each)}${nameOf(each) === chosen && html` <span class="tag chosen">chosen</span>`}` },
  { label: 'Out because of', cell: (each) => word(each.exclusion, 'EXCLUSION_REASON_') },
  { label: 'Why', cell: (each) => each.exclusionDetail },
]

function Grounds({ selection }) {
  const { candidates, reason, policyId, costWeightFactor } = selection
  const chosen = nameOf(selection)
  const ranked = candidates.filter(isIn)
  const out = candidates.filter((each) => !isIn(each))
  const first = ranked[0] && nameOf(ranked[0])
  return html`<${Facts} facts=${[
      ['Chosen', chosen], ['How', word(selection.strategy, 'STRATEGY_')], ['Policy', policyId], ['For', selection.userId], ['About', selection.focusArea],
      ['Estimate', `${money(selection.estimatedCost)} for ${count(selection.estimatedTokens)} tokens`], ['When', clock(selection.createTime)],
      ['Cost weighs', costWeightFactor > 1 ? `${costWeightFactor} times as much, budgets run low` : ''],
    ]} />
    ${candidates.length === 0 && html`<${Empty} title="Its candidates are not kept any more.">Only the newest selections are explained: the setting <code>TOOLOO_PROVIDER_EXPLAINED_SELECTIONS</code>.</${Empty}>`}
    ${reason && html`<p><strong>${first}</strong>: ${reason}.${first !== chosen ? ` The call went to ${chosen}, because it was named or the first could not be called from here.` : ''}</p>`}
    ${ranked.length > 0 && html`<p class="small legend" aria-hidden="true">${PARTS.map((part) => html`<span><i class=${part}></i>${part} × ${ranked[0].parts[part].weight} </span>`)}</p>
      <${Table} caption="Candidates by rank, with the parts of their scores" columns=${rankColumns(chosen)} rows=${ranked} keyOf=${nameOf} />`}
    ${out.length > 0 && html`<h3>Out</h3><${Table} caption="Models that were out, and why" columns=${outColumns(chosen)} rows=${out} keyOf=${nameOf} />`}`
}

function Why({ selectionId }) {
  const loaded = useLoad((signal) => get(`/api/v1/selections/${selectionId}`, {}, { signal }), [selectionId])
  return html`<${Dialog} title="Why this model" wide onClose=${() => setParams({ why: '' })}><div class="stack">
    <${Loaded} of=${loaded}>${(selection) => html`<${Grounds} selection=${selection} />`}</${Loaded}></div></${Dialog}>`
}

export function Choices() {
  const { params } = useSignal(route)
  const { user = '', provider = '', why = '' } = params
  const selections = usePaged('/api/v1/selections', { userId: user, providerId: provider }, 'selections')
  useEvents({ types: ['provider.selected'] }, useRarely(selections.reload, 1000))
  useTicker(1000)
  const empty = user || provider
    ? html`<${Empty} title="No selection fits."><button type="button" onClick=${() => setParams({ user: '', provider: '' })}>Show all</button></${Empty}>`
    : html`<${Nothing} title="No model was chosen yet." path="providers/select" body=${EXAMPLE}><p>Every completion chooses one, and so does this call:</p></${Nothing}>`
  return html`<div class="filters">
      <${Search} label="User" placeholder="User, e.g. ada" value=${user} onChange=${(value) => setParams({ user: value })} />
      <label class="inline">Provider <input value=${provider} placeholder="e.g. openai" autocomplete="off" spellcheck="false" onChange=${({ currentTarget }) => setParams({ provider: currentTarget.value.trim() })} /></label>
    </div>
    <${Paged} of=${selections}>${(rows) => html`<${Table} caption="Selections, newest first; open one to see why" columns=${columns} rows=${rows} keyOf=${(each) => each.selectionId}
      opened=${why} onOpen=${(each) => setParams({ why: each.selectionId })} empty=${empty} />`}</${Paged}>
    ${why && html`<${Why} key=${why} selectionId=${why} />`}`
}
