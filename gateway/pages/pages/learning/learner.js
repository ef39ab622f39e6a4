// Whose pages are shown: the learners of this mesh, and the one that was chosen last.

import { get } from '../../lib/api.js'
import { html } from '../../lib/html.js'
import { ago, count } from '../../lib/format.js'
import { Nothing, useRarely } from '../../lib/paged.js'
import { route, setParams } from '../../lib/router.js'
import { remembered, useSignal } from '../../lib/store.js'
import { useEvents } from '../../lib/stream.js'
import { Loaded } from '../../lib/ui.js'
import { useLoad } from '../../lib/use.js'

const MOST = 200
const last = remembered('learner', '')
const EXAMPLE = { userId: 'ada', focusArea: 'python', roundCount: 3 }

/** Lets a learner be chosen; `children` makes of the id what is shown. */
export function ForLearner({ children }) {
  const { params } = useSignal(route)
  const loaded = useLoad(async (signal) => (await get('/api/v1/learners', { pageSize: MOST }, { signal })).learners, [])
  // the first learner ends the remark that there is none; later ones would move the choice under the reader
  useEvents({ types: ['mastery.changed'] }, useRarely(() => loaded.data?.length || loaded.reload(), 1000))
  return html`<${Loaded} of=${loaded}>${(learners) => {
    if (!learners.length && !params.user) {
      return html`<${Nothing} title="Nobody has trained yet." path="training/start" body=${EXAMPLE}><p>A learner is there with the first feedback on a round. Start a session:</p></${Nothing}>`
    }
    const known = learners.some(({ userId }) => userId === last.value)
    const user = params.user || (known ? last.value : learners[0].userId)
    const choose = (userId) => {
      last.value = userId
      setParams({ user: userId, card: '' })
    }
    const shown = learners.some(({ userId }) => userId === user) ? learners : [{ userId: user }, ...learners]
    return html`<div class="filters"><label class="inline">Learner
        <select value=${user} onChange=${({ currentTarget }) => choose(currentTarget.value)}>
          ${shown.map(({ userId, reviews, lastReviewTime }) => html`<option key=${userId} value=${userId}>${userId}${reviews === undefined ? '' : ` · ${count(reviews)} reviews, ${ago(lastReviewTime)}`}</option>`)}
        </select></label></div>
      ${children(user)}`
  }}</${Loaded}>`
}
