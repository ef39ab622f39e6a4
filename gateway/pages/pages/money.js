// Money: what was spent against which budget, why a model was chosen, and which models can be had.

import { html } from '../lib/html.js'
import { link, route, setParams } from '../lib/router.js'
import { sheet } from '../lib/sheet.js'
import { useSignal } from '../lib/store.js'
import { Heading, Tabs } from '../lib/ui.js'
import { Budgets } from './money/budgets.js'
import { Choices } from './money/choices.js'
import { Models } from './money/models.js'
import { Spend } from './money/spend.js'

await sheet('./money/money.css', import.meta.url)

export const title = 'Money'
const TABS = [
  { id: 'spend', label: 'Spend', show: Spend },
  { id: 'budgets', label: 'Budgets', show: Budgets },
  { id: 'choices', label: 'Choices', show: Choices },
  { id: 'models', label: 'Models', show: Models },
]

export default function Money() {
  const { params } = useSignal(route)
  const current = TABS.find(({ id }) => id === params.tab) ?? TABS[0]
  return html`<${Heading} title="Money" about="What models cost, what may be spent, and why one was chosen over the others.">
      <a class="button" href=${link(['calls', 'tooloo.provider.v1.ProviderService', 'SetBudget'])}>Set a budget</a>
    </${Heading}>
    <${Tabs} label="Parts of money" tabs=${TABS} current=${current.id} onChange=${(tab) => setParams({ tab }, { step: true })} />
    <div role="tabpanel" aria-labelledby=${`tab-${current.id}`}><${current.show} /></div>`
}
