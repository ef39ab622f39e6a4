// A sheet that only one page needs: loaded with the page, before it is shown.

const sheets = new Map()

/** Adds a sheet once; resolves when it applies. `address` is relative to the module that asks: sheet('./code.css', import.meta.url). */
export function sheet(address, base) {
  const href = new URL(address, base).href
  if (!sheets.has(href)) {
    const tag = Object.assign(document.createElement('link'), { rel: 'stylesheet', href })
    sheets.set(href, new Promise((resolve) => {
      tag.onload = tag.onerror = resolve
    }))
    document.head.append(tag)
  }
  return sheets.get(href)
}
