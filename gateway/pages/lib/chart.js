// uPlot as a component; the library is loaded with the first chart.

import { html, useEffect, useRef } from './html.js'
import { useSignal } from './store.js'
import { colour, scheme } from './theme.js'

let loading

function library() {
  loading ??= import('../vendor/uPlot.mjs').then((module) => {
    const sheet = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL('../vendor/uPlot.min.css', import.meta.url).href })
    document.head.append(sheet)
    return new Promise((resolve) => {
      sheet.onload = sheet.onerror = () => resolve(module.default)
    })
  })
  return loading
}

const axis = (format) => ({
  stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), width: 1 },
  font: '12px system-ui', ...(format ? { values: (_, values) => values.map(format) } : {}),
})

/**
 * A time series. A chart says nothing to who cannot see it: `label` must say what it shows, and a table beside it the figures.
 * @param {{label: string, data: number[][], series: {label: string, token?: string, options?: object}[], format?: (value: number) => string, height?: number, options?: object}} props
 *   data: the times in seconds, then one list of values a series; token: a colour of the sheet
 */
export function Chart({ label, data, series, format, height = 220, options = {} }) {
  const box = useRef(null)
  const plot = useRef(null)
  const shown = useSignal(scheme)
  const shape = JSON.stringify([series, height, shown, options])
  useEffect(() => {
    let gone = false
    const observer = new ResizeObserver(() => box.current && plot.current?.setSize({ width: box.current.clientWidth, height }))
    library().then((UPlot) => {
      // an element that is taken out is gone before its effects are
      if (gone || !box.current) return
      const lines = series.map(({ label: name, token = 'accent', options: more = {} }) => ({ label: name, stroke: colour(token), width: 1.5, ...more }))
      const shared = { width: box.current.clientWidth, height, axes: [axis(), axis(format)], series: [{}, ...lines], ...options }
      plot.current = new UPlot(shared, data, box.current)
      observer.observe(box.current)
    })
    return () => {
      gone = true
      observer.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [shape])
  useEffect(() => plot.current?.setData(data), [data])
  return html`<div class="chart" role="img" aria-label=${label} ref=${box}></div>`
}
