// What a filled form means: as an HTTP request, and as the one message that gRPC would send.

import { address } from '../../lib/api.js'

/** @typedef {{parameters: Record<string, any>, body: object | undefined, raw?: string, rawType?: string, id: string}} Filled */

/** The path with its variables filled and the query behind it. */
export function pathOf(call, { parameters, id }) {
  const given = { ...parameters, requestId: id }
  const query = Object.fromEntries(call.parameters.filter(({ place }) => place === 'query').map(({ name }) => [name, given[name]]))
  const path = call.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(parameters[name] ?? ''))
  return address(path, query)
}

/** The request as one message: variables of the path and the query are fields like any other. */
export function messageOf(call, { parameters, body }) {
  const message = structuredClone(body ?? {})
  for (const { name } of call.parameters) {
    const value = parameters[name]
    if (value === undefined || value === '') continue
    const steps = name.split('.')
    const last = steps.pop()
    const place = steps.reduce((at, step) => (at[step] ??= {}), message)
    place[last] = value
  }
  return message
}

/** Method, address, headers and body, ready for fetch. */
export function httpOf(call, filled) {
  const headers = { accept: call.streams ? 'text/event-stream' : 'application/json' }
  if (call.keyed && call.bodyTypes.length) headers['idempotency-key'] = filled.id
  const body = filled.raw ?? (call.bodyTypes.length ? JSON.stringify(filled.body ?? {}) : undefined)
  if (body !== undefined) headers['content-type'] = filled.rawType ?? 'application/json'
  return { method: call.verb, url: pathOf(call, filled), headers, body }
}
