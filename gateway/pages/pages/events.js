// What happens in the mesh: the events as they come, who reads them and how far, and what nobody could handle.

import { html } from '../lib/html.js'
import { route, setParams } from '../lib/router.js'
import { useSignal } from '../lib/store.js'
import { usePoll } from '../lib/stream.js'
import { Heading, Tabs } from '../lib/ui.js'
import { DeadLetters } from './events/dead.js'
import { Stream } from './events/stream.js'
import { Subscriptions } from './events/subscriptions.js'

export const title = 'Events'
const EVERY_MS = 2000
const VIEWS = { stream: Stream, subscriptions: Subscriptions, dead: DeadLetters }

export default function Events() {
  const { params } = useSignal(route)
  const { data } = usePoll('/api/v1/subscriptions?pageSize=1000', EVERY_MS)
  const subscriptions = data?.subscriptions
  const view = params.view in VIEWS ? params.view : 'stream'
  const View = VIEWS[view]
  const dead = subscriptions?.reduce((sum, each) => sum + Number(each.deadLetters), 0)
  const tabs = [{ id: 'stream', label: 'Stream' }, { id: 'subscriptions', label: 'Subscriptions', count: subscriptions?.length }, { id: 'dead', label: 'Dead letters', count: dead }]
  return html`
    <${Heading} title="Events" about="Every fact that a service tells, in one order, kept on disk." />
    <${Tabs} label="What to see" tabs=${tabs} current=${view} onChange=${(id) => setParams({ view: id === 'stream' ? '' : id }, { step: true })} />
    <div role="tabpanel" aria-labelledby=${`tab-${view}`}><${View} subscriptions=${subscriptions} /></div>`
}
