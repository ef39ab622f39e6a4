// Runs: what runs and ran, a run as a graph, workflows, and tasks with their next fire times.

import { html } from '../lib/html.js'
import { link, route, setParams } from '../lib/router.js'
import { sheet } from '../lib/sheet.js'
import { useSignal } from '../lib/store.js'
import { Heading, Tabs } from '../lib/ui.js'
import { RunPage } from './runs/run.js'
import { RunList } from './runs/list.js'
import { Schedules } from './runs/schedules.js'
import { Workflows } from './runs/workflows.js'

await sheet('./runs/runs.css', import.meta.url)

export const title = 'Runs'
const TABS = [
  { id: 'runs', label: 'Runs', show: RunList },
  { id: 'workflows', label: 'Workflows', show: Workflows },
  { id: 'schedules', label: 'Schedules', show: Schedules },
]

export default function Runs() {
  const { rest: [runId], params } = useSignal(route)
  if (runId) return html`<${RunPage} key=${runId} runId=${runId} />`
  const current = TABS.find(({ id }) => id === params.tab) ?? TABS[0]
  return html`<${Heading} title="Runs" about="DAGs of calls: each finished node is on disk, and a run goes on after a crash.">
      <a class="button" href=${link(['calls', 'tooloo.orchestration.v1.OrchestrationService', 'ExecuteDag'])}>Run a DAG</a>
    </${Heading}>
    <${Tabs} label="Runs and what starts them" tabs=${TABS} current=${current.id} onChange=${(tab) => setParams({ tab }, { step: true })} />
    <div role="tabpanel" aria-labelledby=${`tab-${current.id}`}><${current.show} /></div>`
}
