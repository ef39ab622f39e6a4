// The list of runs, newest first; it is loaded again whenever one begins or ends.

import { html } from '../../lib/html.js'
import { ago, duration, short } from '../../lib/format.js'
import { Nothing, Paged, usePaged, useRarely } from '../../lib/paged.js'
import { go, link, route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { useEvents } from '../../lib/stream.js'
import { Empty, Search, State, Table } from '../../lib/ui.js'
import { useTicker } from '../../lib/use.js'

const STATES = ['', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED']
const EXAMPLE = { wait: '10s', dag: { nodes: [{ id: 'look', call: 'tooloo.learning.v1.LearningService/GetTrainingOverview', input: { userId: 'ada' } }] } }

/** How long a run or a node took, or has taken so far. */
export const took = (start, end, now = Date.now()) => (start ? duration((new Date(end ?? now) - new Date(start)) / 1000) : '–')

/** What started a run, in words. */
export function Origin({ run }) {
  if (run.retryOfRunId) return html`retry of <a href=${link(['runs', run.retryOfRunId])}>${short(run.retryOfRunId)}</a>`
  if (run.taskId) return html`schedule${run.workflowId && ` of ${run.workflowId}`}`
  if (run.intentId) return html`intent, ${run.workflowId}`
  return run.workflowId ? `${run.workflowId} v${run.workflowVersion}` : 'a DAG'
}

const columns = [
  { label: 'Run', cell: (run) => html`<span class="mono nowrap" title=${run.runId}>${short(run.runId)}</span>` },
  { label: 'State', cell: (run) => html`<${State} value=${run.state} prefix="RUN_STATE_" />` },
  { label: 'From', cell: (run) => html`<${Origin} run=${run} />` },
  { label: 'For', cell: (run) => run.userId || '–', hide: 'small' },
  { label: 'Began', cell: (run) => html`<time class="nowrap" datetime=${run.createTime} title=${run.createTime}>${ago(run.createTime)}</time>` },
  { label: 'Took', cell: (run) => html`<span class="nowrap">${took(run.createTime, run.endTime)}</span>`, align: 'end' },
  { label: 'Why', cell: (run) => html`<span class="soft">${run.reason}</span>`, hide: 'small' },
]

export function RunList() {
  const { params } = useSignal(route)
  const { state = '', user = '', workflow = '' } = params
  const wanted = { state: state && `RUN_STATE_${state}`, userId: user, workflowId: workflow }
  const runs = usePaged('/api/v1/runs', wanted, 'runs')
  useEvents({ types: ['dag.started', 'dag.completed'] }, useRarely(runs.reload))
  useTicker(1000)
  const filtered = state || user || workflow
  const empty = filtered
    ? html`<${Empty} title="No run fits."><button type="button" onClick=${() => setParams({ state: '', user: '', workflow: '' })}>Show all</button></${Empty}>`
    : html`<${Nothing} title="Nothing has run yet." path="dag/execute" body=${EXAMPLE}><p>Run a DAG of calls, for example:</p></${Nothing}>`
  return html`<div class="filters">
      <div class="buttons" role="group" aria-label="State">${STATES.map((each) => html`<button type="button" aria-pressed=${String(each === state)}
        onClick=${() => setParams({ state: each })}>${each ? each.toLowerCase() : 'all'}</button>`)}</div>
      <${Search} label="User" placeholder="User, e.g. ada" value=${user} onChange=${(value) => setParams({ user: value })} />
      ${workflow && html`<button type="button" onClick=${() => setParams({ workflow: '' })}>workflow ${workflow} ✕</button>`}
    </div>
    <${Paged} of=${runs}>${(rows) => html`<${Table} caption="Runs, newest first" columns=${columns} rows=${rows} keyOf=${(run) => run.runId}
      onOpen=${(run) => go(['runs', run.runId])} empty=${empty} />`}</${Paged}>`
}
