// The log from a moment on, oldest first, page by page.

import { html, useEffect, useState } from '../../lib/html.js'
import { get } from '../../lib/api.js'
import { clock, count, day } from '../../lib/format.js'
import { Empty, ErrorState, Loading } from '../../lib/ui.js'
import { Filters, filterOf } from './filters.js'
import { Rows } from './rows.js'

const PAGE = 100

export function Past({ params, change, opened, open }) {
  const [found, setFound] = useState({ events: [], loading: true })
  const wanted = JSON.stringify([params.from, filterOf(params)])
  const load = async (pageToken, before) => {
    try {
      const page = await get('/api/v1/events', { fromTime: params.from, filter: filterOf(params), pageSize: PAGE, pageToken })
      setFound({ events: [...before, ...page.events], next: page.nextPageToken, head: page.headPosition })
    } catch (error) {
      setFound({ events: before, error })
    }
  }
  useEffect(() => {
    setFound({ events: [], loading: true })
    load('', [])
  }, [wanted])
  const { events, loading, error, next, head } = found
  return html`
    <${Filters} params=${params} onChange=${change}><button type="button" class="primary" onClick=${() => change({ from: '' })}>Back to live</button></${Filters}>
    <p class="line soft">From ${day(params.from)} ${clock(params.from).slice(-12)} on, oldest first; the log ends at ${count(head)}.</p>
    ${error && html`<${ErrorState} error=${error} />`}
    ${loading ? html`<${Loading} /> ` : events.length ? html`<div class="panel"><${Rows} events=${events} opened=${opened} onOpen=${open} /></div>` : !error && html`<${Empty} title="Nothing that fits is in the log from then on." />`}
    ${next && html`<p class="buttons"><button type="button" onClick=${() => load(next, events)}>Load more</button></p>`}`
}
