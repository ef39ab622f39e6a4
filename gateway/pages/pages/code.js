// Code: an indexed repository as a tree map, its most central files, a file between its relations, and search.

import { get, listAll } from '../lib/api.js'
import { AsTable } from '../lib/as-table.js'
import { html } from '../lib/html.js'
import { ago, bytes, count, percent } from '../lib/format.js'
import { Nothing, useRarely } from '../lib/paged.js'
import { route, setParams } from '../lib/router.js'
import { sheet } from '../lib/sheet.js'
import { remembered, useSignal } from '../lib/store.js'
import { useEvents } from '../lib/stream.js'
import { Facts, Heading, Loaded, Search, Table } from '../lib/ui.js'
import { useKeys, useLoad } from '../lib/use.js'
import { IndexForm, Underway, begin, isRunning, running } from './code/indexing.js'
import { FilePanel } from './code/relations.js'
import { Found } from './code/search.js'
import { MEASURES, TreeMap } from './code/treemap.js'

await sheet('./code/code.css', import.meta.url)

export const title = 'Code'
const SHAPE = { depth: 4, maxNodes: 1500, centralFiles: 20 }
const TONES = 6
const last = remembered('repository', '')
const openFile = (file) => setParams({ file })

function Crumbs({ repoId, folder }) {
  const parts = folder ? folder.split('/') : []
  const crumb = (name, path) => html`<li><button type="button" class="link" aria-current=${path === folder ? 'true' : undefined} onClick=${() => setParams({ folder: path }, { step: true })}>${name}</button></li>`
  return html`<nav aria-label="Folders"><ol class="crumbs">${crumb(repoId, '')}${parts.map((name, index) => crumb(name, parts.slice(0, index + 1).join('/')))}</ol></nav>`
}

const Legend = ({ tones }) => html`<p class="small soft map-legend" aria-hidden="true">${[...tones].map(([language, tone]) => html`<span key=${language}><i class=${`tone-${tone}`}></i>${language}</span>`)}<span><i class="tone-none"></i>others</span></p>`

const childColumns = [
  { label: 'Name', cell: (node) => html`<span class="path">${node.name}${node.folder ? '/' : ''}</span>` },
  { label: 'Files', cell: (node) => count(node.files), align: 'end' },
  { label: 'Lines', cell: (node) => count(node.lines), align: 'end' },
  { label: 'Size', cell: (node) => html`<span class="nowrap">${bytes(node.bytes)}</span>`, align: 'end' },
  { label: 'Rank', cell: (node) => (node.rank ? percent(node.rank, 2) : '–'), align: 'end', hide: 'small' },
]

function MapPanel({ repoId, tree, folder, tones }) {
  const { params } = useSignal(route)
  const by = params.by in MEASURES ? params.by : 'bytes'
  const within = (name) => (folder ? `${folder}/${name}` : name)
  const open = ({ node, path }) => (node.folder ? setParams({ folder: path }, { step: true }) : openFile(path))
  return html`<section class="panel stack" aria-label="Tree map">
    <div class="map-head"><${Crumbs} repoId=${repoId} folder=${folder} />
      <div class="buttons" role="group" aria-label="Size by">${Object.entries(MEASURES).map(([name, { label }]) => html`<button type="button" aria-pressed=${String(name === by)} onClick=${() => setParams({ by: name })}>${label}</button>`)}</div></div>
    <${TreeMap} folder=${tree} path=${folder} by=${by} tones=${tones} opened=${params.file} onOpen=${open} />
    <${Legend} tones=${tones} />
    <${AsTable} caption=${`What is in ${folder || repoId}`} columns=${childColumns} rows=${tree.children} keyOf=${({ name }) => name} onOpen=${(node) => open({ node, path: within(node.name) })} />
  </section>`
}

const centralColumns = [
  { label: 'Most central files', cell: (file) => html`<span class="path">${file.path}</span>` },
  { label: 'Rank', cell: (file) => html`<span class="nowrap">${percent(file.rank, 2)}</span>`, align: 'end' },
  { label: 'Imported by', cell: (file) => count(file.importedBy), align: 'end' },
]
const languageColumns = [
  { label: 'Language', cell: (each) => each.language },
  { label: 'Files', cell: (each) => count(each.files), align: 'end' },
  { label: 'Lines', cell: (each) => count(each.lines), align: 'end' },
  { label: 'Size', cell: (each) => html`<span class="nowrap">${bytes(each.bytes)}</span>`, align: 'end' },
]

function About({ repository, onIndexed }) {
  const { repoId, root, status } = repository
  const busy = isRunning(useSignal(running), { path: root, repoId })
  const index = async () => (await begin({ path: root, repoId })) && onIndexed()
  return html`<div class="about"><${Facts} facts=${[
      ['Files', count(repository.files)], ['Lines', count(repository.lines)], ['Size', bytes(repository.bytes)], ['Symbols', count(repository.symbols)],
      ['Imports', html`${count(repository.imports)} <span class="soft small nowrap">${count(repository.resolvedImports)} inside</span>`], ['Compared', ago(status.checkTime)], ['Commit', status.commit && html`<code>${status.commit.slice(0, 10)}</code>`],
    ]} />
    <button type="button" class=${status.stale ? 'primary' : ''} disabled=${busy} onClick=${index}>${busy ? 'Indexing …' : 'Index again'}</button></div>
    ${status.stale && html`<p class="warn">Out of date: ${status.staleDetail}.</p>`}`
}

function Repository({ repoId }) {
  const { params } = useSignal(route)
  const { folder = '', file = '', q = '' } = params
  const shape = useLoad((signal) => get('/api/v1/repos/structure', { repoId, folder, ...SHAPE }, { signal }), [repoId, folder])
  useEvents({ types: ['context.indexed', 'context.stale'] }, useRarely(shape.reload, 1000))
  useKeys([{ key: 'u', label: 'Up to the folder above', run: () => setParams({ folder: folder.split('/').slice(0, -1).join('/') }, { step: true }) }])
  return html`<${Loaded} of=${shape}>${({ repository, tree, centralFiles }) => {
    const tones = new Map(repository.languages.slice(0, TONES).map(({ language }, index) => [language, index]))
    return html`<div class="stack">
      <${About} repository=${repository} onIndexed=${shape.reload} />
      <div class=${file ? 'split code-split' : ''}>
        <div class="stack">
          ${q ? html`<${Found} repoId=${repoId} query=${q} onOpen=${openFile} />` : html`<${MapPanel} repoId=${repoId} tree=${tree} folder=${folder} tones=${tones} />`}
          ${!q && html`<div class="halves">
            <${Table} caption="Most central files by PageRank over imports" columns=${centralColumns} rows=${centralFiles} keyOf=${({ path }) => path} opened=${file} onOpen=${({ path }) => openFile(path)}
              empty=${html`<p class="filler soft">No import leads to a file of this repository.</p>`} />
            <${Table} caption="Languages by size" columns=${languageColumns} rows=${repository.languages} keyOf=${({ language }) => language} /></div>`}
        </div>
        ${file && html`<${FilePanel} key=${file} repoId=${repoId} path=${file} onOpen=${openFile} onClose=${() => openFile('')} />`}
      </div></div>`
  }}</${Loaded}>`
}

export default function Code() {
  const { params } = useSignal(route)
  const loaded = useLoad(() => listAll('/api/v1/context/repositories', {}, 'repositories'), [])
  useEvents({ types: ['context.indexed'] }, useRarely(loaded.reload, 1000))
  const choose = (repo) => {
    last.value = repo
    setParams({ repo, folder: '', file: '', q: '' }, { step: true })
  }
  const show = (repo) => {
    loaded.reload()
    choose(repo)
  }
  return html`<${Heading} title="Code" about="Source trees of this machine: their shape, what leans on what, and every symbol." />
    <${Underway} />
    <${Loaded} of=${loaded}>${(repositories) => {
      if (!repositories.length) return html`<section class="panel index-first"><h2>Index a folder</h2><${IndexForm} onIndexed=${show} /></section>
        <${Nothing} title="No repository is indexed." path="context/analyze" body=${{ path: '.' }}><p>Index the folder where the mesh was started, or any other one that it may read; from a terminal:</p></${Nothing}>`
      const known = (id) => repositories.some(({ repoId }) => repoId === id)
      const repoId = [params.repo, last.value].find(known) ?? repositories[0].repoId
      return html`<div class="filters"><label class="inline">Repository
          <select value=${repoId} onChange=${({ currentTarget }) => choose(currentTarget.value)}>${repositories.map((each) => html`<option key=${each.repoId} value=${each.repoId}>${each.repoId}</option>`)}</select></label>
          <${Search} label="Search files and symbols" value=${params.q ?? ''} onChange=${(q) => setParams({ q })} /></div>
        <${Repository} key=${repoId} repoId=${repoId} />
        <details class="index-another"><summary>Index another folder</summary><div class="panel"><${IndexForm} onIndexed=${show} /></div></details>`
    }}</${Loaded}>`
}
