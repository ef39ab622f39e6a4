// Tasks: what runs on a schedule, when it fires next, and the switch for it.

import { del, post } from '../../lib/api.js'
import { ask, attempt } from '../../lib/dialog.js'
import { html } from '../../lib/html.js'
import { ago, clock, count, duration } from '../../lib/format.js'
import { Nothing, Paged, usePaged, useRarely } from '../../lib/paged.js'
import { link } from '../../lib/router.js'
import { useEvents } from '../../lib/stream.js'
import { State, Table } from '../../lib/ui.js'
import { useTicker } from '../../lib/use.js'

const AHEAD = 4
const EXAMPLE = { name: 'every morning', schedule: { cron: '30 7 * * *', timeZone: 'Europe/Berlin' }, dag: { nodes: [{ id: 'look', call: 'tooloo.learning.v1.LearningService/GetTrainingOverview', input: { userId: 'ada' } }] } }
const moment = (time) => html`<time datetime=${time} title=${time}>${clock(time).replace(/\.\d+$/, '')}</time>`

/** A schedule in words. */
export const inWords = ({ at, every, cron, timeZone }) => (at ? `once, ${clock(at).replace(/\.\d+$/, '')}` : every ? `every ${duration(every)}` : `${cron}${timeZone ? ` (${timeZone})` : ' (UTC)'}`)

function actions(task, reload) {
  const change = async (verb, done) => (await attempt(() => post(`/api/v1/tasks/${task.taskId}/${verb}`), done)) && reload()
  const remove = async () => {
    const sure = await ask({ title: `Delete the task ${task.name}?`, text: 'It fires no more. The runs that it started stay.', action: 'Delete', danger: true })
    if (sure && (await attempt(() => del(`/api/v1/tasks/${task.taskId}`), 'The task is deleted.'))) reload()
  }
  return html`<div class="buttons">
    ${task.state === 'TASK_STATE_ACTIVE' && html`<button type="button" aria-label=${`Pause ${task.name}`} onClick=${() => change('pause', `${task.name} is paused.`)}>Pause</button>`}
    ${task.state === 'TASK_STATE_PAUSED' && html`<button type="button" class="primary" aria-label=${`Resume ${task.name}`} onClick=${() => change('resume', `${task.name} fires again.`)}>Resume</button>`}
    <button type="button" class="quiet" aria-label=${`Delete ${task.name}`} onClick=${remove}>Delete</button>
  </div>`
}

function Fires({ times }) {
  if (!times?.length) return '–'
  const [next, ...later] = times
  return html`<strong>${ago(next)}</strong> <span class="soft">${moment(next)}</span>
    ${later.length > 0 && html`<details><summary>then ${later.length} more</summary><ol class="fires">${later.map((time) => html`<li>${moment(time)}</li>`)}</ol></details>`}`
}

export function Schedules() {
  const tasks = usePaged('/api/v1/tasks', { upcomingFires: AHEAD }, 'tasks')
  useEvents({ types: ['task.*'] }, useRarely(tasks.reload))
  useTicker(1000)
  const columns = [
    { label: 'Task', cell: (task) => html`${task.name}${task.lastProblem && html`<p class="bad small">${task.lastProblem}</p>`}` },
    { label: 'State', cell: (task) => html`<${State} value=${task.state} prefix="TASK_STATE_" />` },
    { label: 'Schedule', cell: ({ schedule }) => html`<code>${inWords(schedule)}</code>` },
    { label: 'Next fires', cell: (task) => html`<${Fires} times=${task.upcomingFireTimes} />` },
    { label: 'Runs', cell: (task) => task.workflowId || 'a DAG', hide: 'small' },
    { label: 'Last run', cell: (task) => (task.lastRunId ? html`<a href=${link(['runs', task.lastRunId])}>${ago(task.lastFireTime)}</a>` : '–') },
    { label: 'Fired', cell: (task) => html`${count(task.fireCount)}${Number(task.missedCount) > 0 && html`<span class="warn"> ${count(task.missedCount)} missed</span>`}`, align: 'end', hide: 'small' },
    { label: 'Change', cell: (task) => actions(task, tasks.reload) },
  ]
  const empty = html`<${Nothing} title="Nothing is on a schedule." path="task/schedule" body=${EXAMPLE}><p>Let a DAG or a workflow run at a time, every so often, or by cron:</p></${Nothing}>`
  return html`<${Paged} of=${tasks}>${(rows) => html`<${Table} caption="Tasks, newest first" columns=${columns} rows=${rows} keyOf=${(task) => task.taskId} empty=${empty} />`}</${Paged}>`
}
