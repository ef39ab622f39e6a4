// The part of an event filter that a browser can decide itself; expressions in CEL are the bus's.

/** @typedef {{types?: string[], sources?: string[], subjectPrefix?: string}} Filter */

const fits = (pattern, type) => (pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern)

/** True when all given parts match, as in tooloo.bus.v1.EventFilter. */
export function matches({ types = [], sources = [], subjectPrefix = '' }, event) {
  if (types.length && !types.some((pattern) => fits(pattern, event.type))) return false
  if (sources.length && !sources.includes(event.source)) return false
  return event.subject.startsWith(subjectPrefix)
}
