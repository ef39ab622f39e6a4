// One run: its graph as it changes, its nodes as a table, one node in detail, and what can be done with it.

import { get, post } from '../../lib/api.js'
import { ask, attempt } from '../../lib/dialog.js'
import { Fragment, html, useEffect, useRef, useState } from '../../lib/html.js'
import { ago, clock } from '../../lib/format.js'
import { go, link, route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { useWatch } from '../../lib/stream.js'
import { Copy, ErrorState, Facts, Heading, Json, Loading, State, Table } from '../../lib/ui.js'
import { useKeys, useLoad, useTicker } from '../../lib/use.js'
import { Graph, methodOf } from './graph.js'
import { Origin, took } from './list.js'

const RUNNING = 'RUN_STATE_RUNNING'

/** The run as it is now: loaded once, watched until its end, then loaded again with its outputs. */
function useRun(runId) {
  const path = `/api/v1/runs/${runId}`
  const loaded = useLoad(async (signal) => (await get(path, {}, { signal })).run, [path])
  const [over, setOver] = useState(false)
  const watching = loaded.data?.state === RUNNING && !over
  const { data } = useWatch(watching ? `${path}/watch` : '')
  const newest = useRef(undefined)
  if (data?.run) newest.current = data.run
  useEffect(() => {
    if (!data?.final) return
    setOver(true)
    loaded.reload()
  }, [data])
  const run = loaded.data?.state === RUNNING ? merged(loaded.data, newest.current) : loaded.data
  return { ...loaded, data: run }
}

/** A stream leaves inputs and outputs out: those that are known stay. */
function merged(known, watched) {
  if (!watched) return known
  const before = new Map(known.nodes.map((node) => [node.id, node]))
  return { ...known, ...watched, input: known.input, nodes: watched.nodes.map((node) => ({ ...node, input: before.get(node.id)?.input })) }
}

async function retry(runId, nodeId = '') {
  const answer = await attempt(() => post(`/api/v1/runs/${runId}/retry`, { nodeId }), 'A new run began with what had succeeded.')
  if (answer) go(['runs', answer.run.runId])
}

async function cancel(runId) {
  const sure = await ask({ title: 'Cancel this run?', text: 'No further node starts. A call that is on its way may still be applied.', action: 'Cancel the run', danger: true })
  if (sure) await attempt(() => post(`/api/v1/runs/${runId}/cancel`, { reason: 'cancelled in the control room' }), 'The run is cancelled.')
}

const nodeColumns = [
  { label: 'Node', cell: (node) => node.id },
  { label: 'State', cell: (node) => html`<${State} value=${node.state} prefix="NODE_STATE_" />` },
  { label: 'Call', cell: (node) => html`<code>${methodOf(node.call)}</code>`, hide: 'small' },
  { label: 'After', cell: (node) => node.dependsOn.join(', ') || '–', hide: 'small' },
  { label: 'Attempts', cell: (node) => node.attempts, align: 'end' },
  { label: 'Took', cell: (node) => took(node.startTime, node.endTime), align: 'end' },
]

function NodeDetail({ node, run, onClose }) {
  const ended = run.state !== RUNNING
  const box = useRef(null)
  // on a narrow screen it stands far below what was clicked
  useEffect(() => box.current.scrollIntoView({ block: 'nearest' }), [node.id])
  return html`<section ref=${box} class="panel node-detail" aria-labelledby="node-title">
    <header><h2 id="node-title">${node.id}</h2><button type="button" class="quiet" aria-label="Close the node" onClick=${onClose}>✕</button></header>
    <${Facts} facts=${[
      ['State', html`<${State} value=${node.state} prefix="NODE_STATE_" />`], ['Attempts', node.attempts], ['Took', took(node.startTime, node.endTime)],
      ['Began', node.startTime && clock(node.startTime)], ['Ended', node.endTime && clock(node.endTime)], ['After', node.dependsOn.join(', ')],
    ]} />
    <p><a href=${link(['calls', ...node.call.split('/')])}><code>${node.call}</code></a></p>
    ${node.error && html`<div class="node-error bad"><strong>${node.error.code}${node.error.reason && ` · ${node.error.reason}`}</strong><p>${node.error.message}</p></div>`}
    ${ended && node.state !== 'NODE_STATE_SKIPPED' && html`<p><button type="button" onClick=${() => retry(run.runId, node.id)}>Run again from here</button></p>`}
    <h3>Input</h3><${Json} value=${node.input ?? {}} label=${`Input of ${node.id}`} />
    ${node.output && html`<${Fragment}><h3>Output</h3><${Json} value=${node.output} label=${`Output of ${node.id}`} /></${Fragment}>`}
  </section>`
}

export function RunPage({ runId }) {
  const loaded = useRun(runId)
  const { params } = useSignal(route)
  const run = loaded.data
  useTicker(run?.state === RUNNING ? 500 : 60_000)
  const open = (node) => setParams({ node: node === params.node ? '' : node })
  useKeys([
    { key: 'u', label: 'Back to all runs', run: () => go('runs') },
    { key: 'R', label: 'Retry this run', run: () => run && run.state !== RUNNING && retry(runId) },
  ])
  if (loaded.error && !run) return html`<${Heading} title="Run" /><${ErrorState} error=${loaded.error} onRetry=${loaded.reload} />`
  if (!run) return html`<${Heading} title="Run" /><${Loading} />`
  const node = run.nodes.find(({ id }) => id === params.node)
  const done = run.nodes.filter(({ state }) => state === 'NODE_STATE_SUCCEEDED').length
  return html`
    <p class="small"><a href=${link('runs')}>Runs</a></p>
    <${Heading} title=${`Run ${runId.slice(-8)}`} about=${html`<${State} value=${run.state} prefix="RUN_STATE_" /> ${done} of ${run.nodes.length} nodes, <${Origin} run=${run} />`}>
      <${Copy} text=${runId} label="Copy id" />
      <a class="button" href=${link('events', { subject: `runs/${runId}` })}>Events</a>
      ${run.state === RUNNING && html`<button type="button" class="danger" onClick=${() => cancel(runId)}>Cancel</button>`}
      ${['RUN_STATE_FAILED', 'RUN_STATE_CANCELLED'].includes(run.state) && html`<button type="button" class="primary" onClick=${() => retry(runId)}>Retry what failed</button>`}
    </${Heading}>
    <p class="unseen" role="status">The run is ${run.state.replace('RUN_STATE_', '').toLowerCase()}.</p>
    ${run.reason && html`<p class=${run.state === 'RUN_STATE_FAILED' ? 'bad' : 'soft'}>${run.reason}</p>`}
    <div class=${node ? 'split' : ''}>
      <div class="stack">
        <section class="panel dag-panel" aria-label="The run as a graph"><${Graph} nodes=${run.nodes} opened=${params.node} onOpen=${open} /></section>
        <${Table} caption="Nodes of the run" columns=${nodeColumns} rows=${run.nodes} keyOf=${({ id }) => id} onOpen=${({ id }) => open(id)} opened=${params.node} />
        <section class="panel"><h2>Run</h2><${Facts} facts=${[
          ['Began', html`${clock(run.createTime)} <span class="soft">${ago(run.createTime)}</span>`], ['Ended', run.endTime && clock(run.endTime)], ['Took', took(run.createTime, run.endTime)],
          ['For', run.userId], ['Workflow', run.workflowId && html`<a href=${link('runs', { workflow: run.workflowId })}>${run.workflowId} v${run.workflowVersion}</a>`],
          ['Task', run.taskId && html`<a href=${link('runs', { tab: 'schedules' })}><code>${run.taskId}</code></a>`], ['Id', html`<code>${runId}</code>`],
        ]} /><h3>Input</h3><${Json} value=${run.input ?? {}} label="Input of the run" /></section>
      </div>
      ${node && html`<${NodeDetail} node=${node} run=${run} onClose=${() => open(node.id)} />`}
    </div>`
}
