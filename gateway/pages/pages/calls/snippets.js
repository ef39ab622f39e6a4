// The request of the form as something to paste: curl, grpcio with JSON, typed stub code, and the command.

import { kindOf, resolved } from './contracts.js'
import { httpOf, messageOf } from './request.js'

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`
const moduleOf = (file) => `${file.replace(/\.proto$/, '').replaceAll('/', '.')}_pb2`
const snake = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const localName = (name) => name.split('.').filter((part) => /^[A-Z]/.test(part)).join('.')

export function curl(call, filled) {
  const { method, url, headers, body } = httpOf(call, filled)
  const parts = [`curl -sS${call.streams ? 'N' : ''}`, method === 'GET' ? '' : `-X ${method}`, shell(location.origin + url)]
  const lines = [parts.filter(Boolean).join(' ')]
  for (const [name, value] of Object.entries(headers)) if (name !== 'accept' || call.streams) lines.push(`-H ${shell(`${name}: ${value}`)}`)
  if (body !== undefined) lines.push(`-d ${shell(body)}`)
  return lines.join(' \\\n  ')
}

export const command = (call, filled) => `tooloo call ${call.rpc} ${shell(JSON.stringify(messageOf(call, filled)))}`

/** A JSON value as Python writes it. */
function python(value, indent = '') {
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (Array.isArray(value)) return `[${value.map((each) => python(each, indent)).join(', ')}]`
  if (typeof value === 'object') return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, indent)}`).join(', ')}}`
  return JSON.stringify(value)
}

function imports(call) {
  const service = moduleOf(call.file)
  const request = moduleOf(call.request.file)
  const lines = [...new Set([service, request])].filter((name) => name !== service || name === request).map(importLine)
  const stub = call.service.split('.').pop()
  return { lines: [...lines, `from ${service}_grpc import ${stub}Stub`], stub, request: `${request.split('.').pop()}.${localName(call.request.message)}` }
}

function importLine(module) {
  // google.protobuf and google.api are packages of their own; ours mirror the folders
  const at = module.lastIndexOf('.')
  return `from ${module.slice(0, at)} import ${module.slice(at + 1)}`
}

const target = () => location.host

function asked(call) {
  if (call.clientStreams) return ['    for answer in stub.NAME(iter([request])):', '        print(json_format.MessageToJson(answer))']
  if (call.streams) return ['    for answer in stub.NAME(request):', '        print(json_format.MessageToJson(answer))']
  return ['    answer = stub.NAME(request, timeout=30)', '    print(json_format.MessageToJson(answer))']
}

/** Python with the generated stubs, the request given as JSON. */
export function grpcio(call, filled) {
  const { lines, stub, request } = imports(call)
  return ['import grpc', 'from google.protobuf import json_format', ...lines, '',
    `request = json_format.ParseDict(${python(messageOf(call, filled))}, ${request}())`,
    `with grpc.insecure_channel(${JSON.stringify(target())}) as channel:`, `    stub = ${stub}Stub(channel)`,
    ...asked(call).map((line) => line.replace('NAME', call.name))].join('\n')
}

const secondsIn = (text) => Number(String(text).replace(/s$/, ''))

/** A value for a constructor: times and lengths of time as Python's own, fields by the names of the contract. */
function typed(api, schema, value) {
  const own = resolved(api, schema)
  const kind = kindOf(own)
  if (kind === 'time') return `datetime.fromisoformat(${JSON.stringify(value)})`
  if (kind === 'duration') return `timedelta(seconds=${secondsIn(value)})`
  if (kind === 'list') return `[${value.map((each) => typed(api, own.items, each)).join(', ')}]`
  if (kind === 'message') return `dict(${args(api, own, value).join(', ')})`
  if (kind === 'map') return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${typed(api, own.additionalProperties, each)}`).join(', ')}}`
  if (kind === 'integer' && typeof value === 'string') return value
  return python(value)
}

const args = (api, schema, value) => Object.entries(value).map(([name, each]) => `${snake(name)}=${typed(api, schema.properties?.[name] ?? {}, each)}`)

/** The schema of the whole message, put together from the body and the parameters. */
function schemaOf(call) {
  const own = call.body ? resolved(call.api, call.body) : { type: 'object', properties: {} }
  const properties = { ...own.properties }
  for (const { name, schema } of call.parameters) {
    const [first, ...rest] = name.split('.')
    const nested = rest.reduceRight((inner, step) => ({ type: 'object', properties: { [step]: inner } }), schema)
    properties[first] = rest.length && properties[first] ? joined(properties[first], nested) : nested
  }
  return { ...own, properties }
}

const joined = (one, other) => ({ ...one, properties: Object.fromEntries([...new Set([...Object.keys(one.properties ?? {}), ...Object.keys(other.properties ?? {})])]
  .map((name) => [name, one.properties?.[name] && other.properties?.[name] ? joined(one.properties[name], other.properties[name]) : one.properties?.[name] ?? other.properties[name]])) })

/** Typed Python for an asyncio program: the message's own constructor, so that a checker sees each field. */
export function stub(call, filled) {
  const { lines, stub: name, request } = imports(call)
  const given = args(call.api, schemaOf(call), messageOf(call, filled))
  const text = given.join(', ')
  const needs = [text.includes('datetime.') && 'datetime', text.includes('timedelta(') && 'timedelta'].filter(Boolean)
  const answer = call.streams ? [`        async for answer in stub.${call.name}(request):`, '            print(answer)'] : [`        print(await stub.${call.name}(request, timeout=30))`]
  return ['import asyncio', ...(needs.length ? [`from datetime import ${needs.join(', ')}`] : []), '', 'import grpc', ...lines, '', '', 'async def main() -> None:',
    `    request = ${request}(${text})`, `    async with grpc.aio.insecure_channel(${JSON.stringify(target())}) as channel:`, `        stub = ${name}Stub(channel)`,
    ...(call.clientStreams ? answer.map((line) => line.replace('(request', '(iter([request])')) : answer), '', '', 'asyncio.run(main())'].join('\n')
}

/** @type {Record<string, [string, (call: object, filled: object) => string]>} every form that a call can be copied in */
export const SNIPPETS = { curl: ['curl', curl], grpcio: ['grpcio', grpcio], stub: ['Stub code', stub], tooloo: ['tooloo', command] }
