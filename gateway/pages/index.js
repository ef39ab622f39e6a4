// The first page: health every few seconds, and every event of the bus as it happens.

const HEALTH_EVERY_MS = 3000
const EVENTS_KEPT = 200
const byId = (id) => document.getElementById(id)

function cell(text, className = '') {
  const td = document.createElement('td')
  td.textContent = text
  td.className = className
  return td
}

function plainState(state) {
  return state.replace('SERVING_STATE_', '').toLowerCase().replaceAll('_', ' ')
}

function showService(service) {
  const row = document.createElement('tr')
  const state = plainState(service.state)
  const replicas = `${service.servingReplicas} of ${service.wantedReplicas}`
  row.append(cell(service.service), cell(state, state === 'serving' ? 'good' : 'bad'), cell(service.port), cell(replicas))
  return row
}

async function showHealth() {
  const line = byId('health')
  try {
    // 200 and 503 both carry the state of each service
    const health = await (await fetch('/health')).json()
    const serving = (health.services ?? []).filter((service) => plainState(service.state) === 'serving').length
    const text = health.services ? `${serving} of ${health.services.length} services serve.` : health.message
    if (line.textContent !== text) line.textContent = text
    line.className = health.services && serving === health.services.length ? 'good' : 'bad'
    byId('services').replaceChildren(...(health.services ?? []).map(showService))
  } catch {
    line.textContent = 'The mesh does not answer.'
    line.className = 'bad'
  }
  setTimeout(showHealth, HEALTH_EVERY_MS)
}

function showEvent(message) {
  if (byId('pause').getAttribute('aria-pressed') === 'true') return
  const event = JSON.parse(message.data)
  const item = document.createElement('li')
  const { '@type': _, ...data } = event.data ?? {}
  item.textContent = `${event.position} ${event.time} ${event.type} ${event.subject}\n${JSON.stringify(data)}`
  const list = byId('events')
  list.prepend(item)
  while (list.children.length > EVENTS_KEPT) list.lastChild.remove()
}

async function followEvents() {
  const line = byId('stream')
  let types
  try {
    types = (await (await fetch('/api/v1/events/catalogue')).json()).eventTypes.map((entry) => entry.type)
  } catch {
    line.textContent = 'The event bus does not answer; trying again.'
    setTimeout(followEvents, HEALTH_EVERY_MS)
    return
  }
  // EventSource hears a named event only by its name
  const stream = new EventSource('/api/v1/events/follow')
  for (const type of types) stream.addEventListener(type, showEvent)
  stream.onopen = () => { line.textContent = 'Connected.' }
  stream.onerror = () => {
    line.textContent = 'Connection lost; trying again.'
    // a refusal closes for good; a broken connection is taken up again by the browser, after the last event it saw
    if (stream.readyState === EventSource.CLOSED) setTimeout(followEvents, HEALTH_EVERY_MS)
  }
}

byId('pause').addEventListener('click', ({ currentTarget }) => {
  const paused = currentTarget.getAttribute('aria-pressed') !== 'true'
  currentTarget.setAttribute('aria-pressed', String(paused))
})

showHealth()
followEvents()
