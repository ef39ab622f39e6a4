// A run's nodes as a graph from left to right: buttons over lines, so that keyboards and screen readers have them too.

import { html, useMemo } from '../../lib/html.js'
import { word } from '../../lib/format.js'
import { layered } from '../../lib/layered.js'
import { toneOf } from '../../lib/ui.js'
import { took } from './list.js'

/** The name of an RPC without its service. */
export const methodOf = (call) => call.split('/').at(-1)
const NODE = { width: 172, height: 54, gapX: 52, gapY: 18 }
const toneOfState = (state) => ({ skipped: 'none', cancelled: 'none', pending: 'none' })[state] ?? toneOf(state)

/** `nodes` as a run has them; without a state, as those of a workflow, they show what they call. */
export function Graph({ nodes, opened, onOpen }) {
  const shape = nodes.map(({ id, dependsOn }) => `${id}<${dependsOn}`).join(';')
  const plan = useMemo(() => layered(nodes.map(({ id, dependsOn }) => ({ id, after: dependsOn })), NODE), [shape])
  const stateOf = new Map(nodes.map(({ id, state }) => [id, word(state, 'NODE_STATE_')]))
  return html`<div class="dag" style=${{ width: `${plan.width}px`, height: `${plan.height}px` }}>
    <svg aria-hidden="true" width=${plan.width} height=${plan.height}>${plan.edges.map(({ from, to, path }) => html`
      <path key=${`${from} ${to}`} d=${path} class=${stateOf.get(from) === 'succeeded' ? 'passed' : ''} />`)}</svg>
    ${nodes.map((node) => {
      const { x, y } = plan.places.get(node.id)
      const state = stateOf.get(node.id)
      return html`<button type="button" key=${node.id} class=${`dag-node ${toneOfState(state)} ${state}`} aria-pressed=${String(node.id === opened)}
        style=${{ left: `${x}px`, top: `${y}px`, width: `${NODE.width}px`, height: `${NODE.height}px` }} onClick=${() => onOpen(node.id)}
        title=${node.call}>
        <span class="dag-name">${node.id}</span>
        <span class="dag-state">${state ? html`<i aria-hidden="true"></i>${state}${node.attempts > 1 ? `, attempt ${node.attempts}` : ''}${node.startTime ? ` · ${took(node.startTime, node.endTime)}` : ''}` : methodOf(node.call)}</span>
      </button>`
    })}
  </div>`
}
