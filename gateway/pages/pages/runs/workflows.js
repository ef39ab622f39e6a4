// Workflows: DAGs that are kept under a name; one of them as a graph, and a way to run it.

import { get, post } from '../../lib/api.js'
import { attempt } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago } from '../../lib/format.js'
import { Nothing, Paged, usePaged } from '../../lib/paged.js'
import { go, link, route, setParams } from '../../lib/router.js'
import { useSignal } from '../../lib/store.js'
import { Json, Loaded, Table } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'
import { Graph } from './graph.js'

const EXAMPLE = { workflowId: 'look', description: 'Looks at a learner', dag: { nodes: [{ id: 'look', call: 'tooloo.learning.v1.LearningService/GetTrainingOverview', input: { userId: '${input.user:-ada}' } }] } }
const columns = [
  { label: 'Workflow', cell: (each) => each.workflowId },
  { label: 'What it is for', cell: (each) => each.description },
  { label: 'Version', cell: (each) => each.version, align: 'end' },
  { label: 'Nodes', cell: (each) => each.nodeCount, align: 'end' },
  { label: 'Made', cell: (each) => ago(each.createTime), hide: 'small' },
]
const REFERENCE = /\$\{nodes\.([A-Za-z][A-Za-z0-9_-]*)\.output/g

/** Nodes of a DAG as nodes of a run that has not begun; a reference in the input is a dependency too. */
const unbegun = ({ id, call, input, dependsOn = [] }) => {
  const referenced = [...JSON.stringify(input ?? {}).matchAll(REFERENCE)].map((match) => match[1])
  return { id, call, input, dependsOn: [...new Set([...dependsOn, ...referenced])], state: '', attempts: 0 }
}

async function start(workflowId) {
  const answer = await attempt(() => post('/api/v1/dag/execute', { workflowId }), `${workflowId} runs.`)
  if (answer) go(['runs', answer.runId])
}

function Workflow({ workflowId }) {
  const loaded = useLoad(async (signal) => (await get(`/api/v1/workflows/${workflowId}`, {}, { signal })).workflow, [workflowId])
  const { params } = useSignal(route)
  return html`<section class="panel stack" aria-labelledby="workflow-title">
    <header class="heading"><h2 id="workflow-title">${workflowId}</h2><div class="buttons">
      <a class="button" href=${link('runs', { workflow: workflowId })}>Its runs</a>
      <button type="button" class="primary" onClick=${() => start(workflowId)}>Run it now</button></div></header>
    <${Loaded} of=${loaded}>${({ dag }) => {
      const nodes = dag.nodes.map(unbegun)
      const node = nodes.find(({ id }) => id === params.node)
      return html`<div class="dag-panel" tabindex="0" role="group" aria-label=${`${workflowId} as a graph`}>
          <${Graph} nodes=${nodes} opened=${params.node} onOpen=${(id) => setParams({ node: id === params.node ? '' : id })} /></div>
        ${node && html`<h3>${node.id}: <code>${node.call}</code></h3><${Json} value=${node.input ?? {}} label=${`Input of ${node.id}`} />`}`
    }}</${Loaded}>
  </section>`
}

export function Workflows() {
  const { params } = useSignal(route)
  const workflows = usePaged('/api/v1/workflows', {}, 'workflows')
  const empty = html`<${Nothing} title="No workflow is kept." path="workflows" body=${EXAMPLE}><p>Keep a DAG under a name, in versions:</p></${Nothing}>`
  return html`<div class="stack">
    <${Paged} of=${workflows}>${(rows) => html`<${Table} caption="Workflows by name" columns=${columns} rows=${rows} keyOf=${(each) => each.workflowId} opened=${params.open}
      onOpen=${(each) => setParams({ open: each.workflowId === params.open ? '' : each.workflowId, node: '' })} empty=${empty} />`}</${Paged}>
    ${params.open && html`<${Workflow} key=${params.open} workflowId=${params.open} />`}
  </div>`
}
