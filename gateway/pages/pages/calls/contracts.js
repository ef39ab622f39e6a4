// The OpenAPI document as a list of calls, and what a schema in it is.

const EVENTS = 'text/event-stream'

/**
 * @typedef {{name: string, place: 'path' | 'query', schema: object, required: boolean, text: string}} Parameter
 * @typedef {object} Call
 * @property {string} rpc  full name, e.g. "tooloo.learning.v1.LearningService/StartTraining"
 * @property {string} verb  HTTP method; "gRPC" where there is none
 * @property {Parameter[]} parameters
 * @property {object | undefined} body  schema of the JSON body
 * @property {string[]} bodyTypes  content types that it takes
 * @property {boolean} keyed  takes a request id, as a header or, without a body, in its query
 * @property {boolean} streams  answers with a stream
 */

/** Every call of the document, REST and gRPC. */
export function callsOf(api) {
  const rest = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([verb, operation]) => restCall(api, verb, path, operation)))
  const order = new Map(api.tags.map(({ name }, index) => [name, index]))
  const all = [...rest, ...(api['x-grpc-only'] ?? []).map((operation) => bare(api, 'gRPC', '', operation))]
  return all.sort((one, other) => order.get(one.title) - order.get(other.title) || one.name.localeCompare(other.name))
}

function bare(api, verb, path, operation) {
  const rpc = operation['x-grpc-method']
  const [service, name] = rpc.split('/')
  return {
    api, rpc, service, name, verb, path, title: operation.tags[0], summary: operation.summary, text: operation.description,
    file: operation['x-grpc-file'], request: operation['x-grpc-request'], streams: Boolean(operation['x-server-streaming']), parameters: [], bodyTypes: [], keyed: false,
    clientStreams: Boolean(operation['x-client-streaming']),
    words: `${rpc} ${verb} ${path} ${operation.description} ${operation.tags[0]}`.toLowerCase(),
  }
}

function restCall(api, verb, path, operation) {
  const all = (operation.parameters ?? []).map((parameter) => resolved(api, parameter))
  const content = operation.requestBody?.content ?? {}
  const answers = operation.responses['200'].content ?? {}
  const media = answers['application/json']?.schema
  return {
    ...bare(api, verb.toUpperCase(), path, operation),
    parameters: all.filter((each) => each.in !== 'header').map((each) => ({ name: each.name, place: each.in, schema: each.schema, required: Boolean(each.required), text: each.description ?? '' })),
    body: content['application/json']?.schema,
    bodyTypes: Object.keys(content),
    keyed: all.some((each) => each.in === 'header' || each.name === 'requestId'),
    answer: media?.type === 'array' ? media.items : media,
    answerText: operation.responses['200'].description,
    streams: Boolean(operation['x-server-streaming']) && EVENTS in answers,
  }
}

/** What a reference stands for; what is said beside it (its description) wins. */
export function resolved(api, schema) {
  if (!schema?.$ref) return schema ?? {}
  const target = schema.$ref.slice(2).split('/').reduce((at, key) => at[key], api)
  return { ...target, ...(schema.description ? { description: schema.description } : {}), name: schema.$ref.split('/').pop().replace(/\.Sent$/, '') }
}

/** What a value is, as a form must ask for it. The schema must be resolved. */
export function kindOf(schema) {
  if (schema.enum) return 'enum'
  if (schema.type === 'array') return schema.items ? 'list' : 'json'
  if (schema.type === 'object') {
    if (schema.additionalProperties && schema.additionalProperties !== true) return 'map'
    return schema.properties && schema.additionalProperties !== true ? 'message' : 'json'
  }
  if (schema.type === 'boolean' || schema.type === 'number' || schema.type === 'integer') return schema.type
  if (schema.format === 'date-time') return 'time'
  if (schema.type === 'string' && !schema.format && /^\^.*s\$$/.test(schema.pattern ?? '') && /\[0-9\]/.test(schema.pattern)) return 'duration'
  return schema.type === 'string' ? 'text' : 'json'
}

/** Groups of fields of which one may be given: [{names, required}]. */
export const choicesOf = (schema) => (schema.allOf ?? []).filter(({ oneOf }) => oneOf).map(({ oneOf }) => ({
  names: oneOf.flatMap(({ required = [] }) => required),
  required: !oneOf.some(({ not }) => not),
}))

/** A type in a few words: "list of ChatMessage", "map to string", "one of 3 words". */
export function typeWords(api, schema) {
  const own = resolved(api, schema)
  const kind = kindOf(own)
  if (kind === 'list') return `list of ${typeWords(api, own.items)}`
  if (kind === 'map') return `map to ${typeWords(api, own.additionalProperties)}`
  if (kind === 'message' || kind === 'enum') return own.name?.split('.v1.').pop() ?? (kind === 'enum' ? 'one of these' : 'message')
  return { time: 'time', duration: 'duration, e.g. 1.5s', json: own.name ?? 'JSON', integer: own.format ?? 'integer', number: 'number' }[kind] ?? own.format ?? own.type ?? 'any'
}

const WORDS = { minimum: 'at least', maximum: 'at most', exclusiveMinimum: 'more than', exclusiveMaximum: 'less than', minLength: 'at least … characters', maxLength: 'at most … characters', minItems: 'at least … of them', maxItems: 'at most … of them', maxProperties: 'at most … of them' }
const LARGE = 2 ** 31 - 1

/** The rules of a schema in words; what every number of its size obeys is left out. */
export function rulesOf(schema) {
  return Object.entries(WORDS).filter(([name]) => name in schema && Math.abs(schema[name]) < LARGE && !(name === 'minLength' && !schema[name]))
    .map(([name, words]) => (words.includes('…') ? words.replace('…', schema[name]) : `${words} ${schema[name]}`)).join(', ')
}

/** Something that could be sent: required fields, and all of the first level that are plain. */
export function exampleOf(api, schema, depth = 0) {
  const own = resolved(api, schema)
  const kind = kindOf(own)
  if (kind === 'enum') return own.enum.find((each) => !each.endsWith('_UNSPECIFIED')) ?? own.enum[0]
  if (kind === 'list') return own.minItems ? [exampleOf(api, own.items, depth + 1)] : []
  if (kind === 'message') {
    const one = choicesOf(own).flatMap(({ names, required }) => (required ? names.slice(1) : names))
    const asked = [...(own.required ?? []), ...choicesOf(own).filter(({ required }) => required).map(({ names }) => names[0])]
    const names = Object.keys(own.properties).filter((name) => asked.includes(name) && !one.includes(name) && name !== 'requestId')
    return depth > 4 ? {} : Object.fromEntries(names.map((name) => [name, exampleOf(api, own.properties[name], depth + 1)]))
  }
  const samples = { boolean: true, integer: Math.max(own.minimum ?? 1, 1), number: own.maximum === undefined ? 0.5 : (Math.max(own.minimum ?? 0, 0) + Math.min(own.maximum, 1)) / 2, time: new Date().toISOString(), duration: '10s', map: {}, json: {} }
  return samples[kind] ?? textFor(own)
}

const textFor = ({ format, pattern = '' }) => (format === 'uuid' ? crypto.randomUUID?.() ?? '' : /^\^\[a-z\]/.test(pattern) ? 'example' : 'ada')
