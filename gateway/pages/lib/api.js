// The public REST API as any client sees it: JSON in and out, and refusals as errors that name their reason.

/** A google.rpc.Status that the mesh answered, or what stands for one when it did not answer at all. */
export class Refusal extends Error {
  constructor({ code = 0, message = '', details = [] }, status = 0, body = undefined) {
    super(message)
    this.name = 'Refusal'
    this.code = code
    this.status = status
    this.body = body
    this.details = details
    this.reason = details.find((detail) => detail.reason)?.reason ?? (status ? `HTTP_${status}` : 'NOT_REACHED')
    this.violations = details.flatMap((detail) => detail.fieldViolations ?? [])
  }

  /** False when asking again cannot help. */
  get passing() {
    return !this.status || this.status === 408 || this.status === 429 || this.status >= 500
  }
}

/** A UUID, also where the page is not a secure context and the browser keeps its own from us. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID()
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function addParams(query, prefix, value) {
  if (value === undefined || value === null || value === '') return
  if (Array.isArray(value)) value.forEach((each) => addParams(query, prefix, each))
  else if (typeof value === 'object') for (const [name, each] of Object.entries(value)) addParams(query, prefix ? `${prefix}.${name}` : name, each)
  else query.append(prefix, value)
}

/** `path` with these parameters as its query: lists repeat, nested objects are written with dots, empty ones are left out. */
export function address(path, params = {}) {
  const query = new URLSearchParams()
  addParams(query, '', params)
  const text = query.toString()
  return text ? `${path}?${text}` : path
}

/** The refusal that a response carries. */
export async function refusalOf(response) {
  const body = await response.json().catch(() => ({}))
  return new Refusal(body.message === undefined ? { message: `The door answered ${response.status}.` } : body, response.status, body)
}

/** Sends a request; a Refusal is thrown for anything but success, with `status` 0 when nobody answered. */
export async function send(verb, path, { params, body, headers = {}, signal } = {}) {
  const options = { method: verb, headers: { accept: 'application/json', ...headers }, signal }
  if (body !== undefined) {
    options.body = typeof body === 'string' ? body : JSON.stringify(body)
    options.headers['content-type'] ??= 'application/json'
  }
  let response
  try {
    response = await fetch(address(path, params), options)
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new Refusal({ message: 'The mesh does not answer. Is it running? (make dev)' })
  }
  if (!response.ok) throw await refusalOf(response)
  return response
}

export const get = async (path, params, options) => (await send('GET', path, { params, ...options })).json()
/** A write with an id of its own: sent twice, it is done once. Keep `id` when you repeat it. */
export const post = async (path, body = {}, { id = newId(), ...options } = {}) =>
  (await send('POST', path, { body, headers: { 'idempotency-key': id }, ...options })).json()
export const del = async (path, params, options) => (await send('DELETE', path, { params, ...options })).json()

/** Every page of a list up to `limit` entries: `field` names the list in the answer. */
export async function listAll(path, params, field, limit = 1000, options = {}) {
  const found = []
  let pageToken = ''
  do {
    const page = await get(path, { ...params, pageToken }, options)
    found.push(...(page[field] ?? []))
    pageToken = page.nextPageToken
  } while (pageToken && found.length < limit)
  return found
}

/** Health is an answer at 503 too: the state of each service. */
export async function health() {
  try {
    return await get('/health')
  } catch (refusal) {
    if (refusal.body?.services) return refusal.body
    throw refusal
  }
}
