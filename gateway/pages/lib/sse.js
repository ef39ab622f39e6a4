// Server-Sent Events over fetch: EventSource hides refusals, asks by GET only and hears a named event only by its name.

import { send } from './api.js'

/**
 * A write whose answer is a stream; refused at once it throws a Refusal, broken in the middle another error.
 * @param {(message: any) => void} heard each message, decoded, as it comes
 * @param {{id: string, signal?: AbortSignal}} options id: the same one again is the same write
 */
export async function postStream(path, body, heard, { id, signal }) {
  const headers = { accept: 'text/event-stream', 'idempotency-key': id }
  const response = await send('POST', path, { body, headers, signal })
  await readSse(response, (messages) => messages.forEach(({ data }) => heard(JSON.parse(data))))
}

/**
 * Reads a response as Server-Sent Events until it ends.
 * @param {Response} response
 * @param {(messages: {id: string, type: string, data: string}[]) => void} heard what came in one piece of the body, together
 */
export async function readSse(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const blocks = (rest + value).split(/\r?\n\r?\n/)
    rest = blocks.pop()
    const messages = blocks.map(message).filter(Boolean)
    heard(messages)
  }
}

/** One block of lines as a message; undefined for a comment, which is how heartbeats come. */
function message(block) {
  const found = { id: '', type: 'message', data: undefined }
  for (const line of block.split(/\r?\n/)) {
    const at = line.indexOf(':')
    if (at === 0) continue
    const name = at < 0 ? line : line.slice(0, at)
    const value = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '')
    if (name === 'data') found.data = found.data === undefined ? value : `${found.data}\n${value}`
    else if (name === 'id') found.id = value
    else if (name === 'event') found.type = value
  }
  return found.data === undefined ? undefined : found
}
