// Before the first paint: the theme that was chosen here last, so that a dark page never flashes white; and the shared worker, which
// starts while the page is still loading its modules. lib/stream.js takes it from here.
const chosen = localStorage.getItem('tooloo.theme')
if (chosen) document.documentElement.dataset.theme = chosen
if (globalThis.SharedWorker) {
  globalThis.toolooWorker = new SharedWorker(new URL('lib/worker.js', document.currentScript.src), { type: 'module', name: 'tooloo' })
}
