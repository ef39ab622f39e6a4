// The API reference: /openapi.json as a page. Schemas unfold when they are opened, so recursion does no harm.

const byId = (id) => document.getElementById(id)

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children)
  return made
}

const resolve = (api, node) => (node?.$ref ? node.$ref.slice(2).split('/').reduce((at, key) => at[key], api) : node) ?? {}
const shortName = (ref) => ref.split('/').pop().split('.v1.').pop()

function typeOf(schema) {
  if (schema.$ref) return shortName(schema.$ref)
  if (schema.type === 'array') return `list of ${typeOf(schema.items ?? {})}`
  if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) return `map to ${typeOf(schema.additionalProperties)}`
  return [schema.type ?? 'any', schema.format].filter(Boolean).join(', ')
}

const RULES = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'maxProperties', 'pattern']

function rulesOf(schema) {
  const rules = RULES.filter((name) => name in schema && (name === 'pattern' || Math.abs(Number(schema[name])) < 2 ** 31 - 1))
  const words = rules.map((name) => `${name} ${schema[name]}`)
  if (schema.enum) words.push(schema.enum.join(' | '))
  return words.join(', ')
}

const inner = (schema) => [schema, schema.items, schema.additionalProperties].find((part) => part?.$ref || part?.properties)

function fieldItem(api, name, schema, required) {
  const label = [element('code', {}, name), ` ${typeOf(schema)}${required ? ', required' : ''} `, element('span', { class: 'soft' }, rulesOf(schema))]
  const text = schema.description ? element('div', {}, schema.description) : ''
  const nested = inner(schema)
  const target = nested && resolve(api, nested)
  if (!target?.properties && !target?.enum) return element('li', {}, ...label, text)
  const unfolding = element('details', {}, element('summary', {}, ...label), text)
  unfolding.addEventListener('toggle', () => unfolding.append(schemaList(api, target)), { once: true })
  return element('li', {}, unfolding)
}

function schemaList(api, schema) {
  if (schema.enum) return element('p', {}, schema.description ?? schema.enum.join(' | '))
  const fields = Object.entries(schema.properties ?? {})
  const required = new Set(schema.required ?? [])
  if (!fields.length) return element('p', { class: 'soft' }, 'Nothing.')
  return element('ul', { class: 'fields' }, ...fields.map(([name, field]) => fieldItem(api, name, field, required.has(name))))
}

function contentList(api, content) {
  const [type, media] = Object.entries(content ?? {})[0] ?? []
  if (!type) return ''
  const schema = media.schema?.type === 'array' ? media.schema.items : media.schema
  return element('div', {}, element('p', { class: 'soft' }, Object.keys(content).join(', ')), schemaList(api, resolve(api, schema)))
}

function example(api, schema, depth = 0) {
  const own = resolve(api, schema)
  if (own.enum) return own.enum.at(-1)
  if (own.type === 'object') {
    const names = Object.keys(own.properties ?? {}).filter((name) => own.required?.includes(name) || depth === 0)
    return depth > 3 ? {} : Object.fromEntries(names.map((name) => [name, example(api, own.properties[name], depth + 1)]))
  }
  if (own.type === 'array') return own.minItems ? [example(api, own.items, depth + 1)] : []
  const samples = { integer: own.minimum > 0 ? own.minimum : 1, number: 0.5, boolean: true }
  const texts = { uuid: crypto.randomUUID?.() ?? '', 'date-time': new Date().toISOString() }
  return samples[own.type] ?? texts[own.format] ?? '…'
}

function curl(api, verb, path, operation) {
  const body = operation.requestBody?.content['application/json']?.schema
  const data = body ? ` \\\n  -d '${JSON.stringify(example(api, body))}'` : ''
  return `curl -sS -X ${verb.toUpperCase()} '${location.origin}${path}'${data}`
}

function fill(api, details, verb, path, operation) {
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(api, parameter))
  details.append(element('p', {}, operation.description), element('p', { class: 'soft' }, `gRPC: ${operation['x-grpc-method']}`))
  if (parameters.length) {
    const items = parameters.map((one) => fieldItem(api, one.name, { ...one.schema, description: `(${one.in}) ${one.description ?? ''}` }, one.required))
    details.append(element('h3', {}, 'Parameters'), element('ul', { class: 'fields' }, ...items))
  }
  if (operation.requestBody) details.append(element('h3', {}, 'Request'), contentList(api, operation.requestBody.content))
  details.append(element('h3', {}, 'Answer'), contentList(api, operation.responses['200'].content))
  details.append(element('pre', { tabindex: '0' }, curl(api, verb, path, operation)))
}

function call(api, verb, path, operation) {
  const title = element('summary', {}, element('span', { class: 'verb' }, verb.toUpperCase()), element('code', {}, path), ` ${operation.summary}`)
  const details = element('details', { id: operation.operationId }, title)
  details.addEventListener('toggle', () => fill(api, details, verb, path, operation), { once: true })
  return details
}

function sections(api) {
  const all = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, operation]) => ({ path, verb, operation })))
  return api.tags.map((tag) => {
    const own = all.filter(({ operation }) => operation.tags.includes(tag.name))
    const calls = own.map(({ verb, path, operation }) => call(api, verb, path, operation))
    return element('section', {}, element('h2', {}, tag.name), element('p', {}, tag.description ?? ''), ...calls)
  })
}

function showMatching(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  let found = 0
  for (const details of document.querySelectorAll('section > details')) {
    const text = details.firstChild.textContent.toLowerCase()
    details.hidden = !wanted.every((word) => text.includes(word))
    found += details.hidden ? 0 : 1
  }
  for (const section of document.querySelectorAll('section')) section.hidden = !section.querySelector('details:not([hidden])')
  byId('count').textContent = `${found} calls`
}

function openNamed() {
  const named = location.hash && byId(location.hash.slice(1))
  if (named) {
    named.open = true
    named.scrollIntoView()
  }
}

try {
  const api = await (await fetch('/openapi.json')).json()
  byId('about').textContent = `${api.info.title} ${api.info.version}. ${api.info.description}`
  byId('calls').replaceChildren(...sections(api))
  byId('filter').addEventListener('input', ({ currentTarget }) => showMatching(currentTarget.value))
  addEventListener('hashchange', openNamed)
  showMatching('')
  openNamed()
} catch (error) {
  byId('about').textContent = `The document cannot be read now: ${error.message}`
}
