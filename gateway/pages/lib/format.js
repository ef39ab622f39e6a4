// Values for people: lengths of time, money, sizes, moments, counts.

const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** "0.25s" of proto3 JSON in seconds. */
export const secondsOf = (text) => (text ? Number(String(text).replace(/s$/, '')) : 0)

/** A length of time, given in seconds or as proto3 JSON writes it: "850 µs", "12 ms", "3.4 s", "5 min", "2 h", "3 d". */
export function duration(value) {
  if (value === undefined || value === null || value === '') return '–'
  const seconds = typeof value === 'number' ? value : secondsOf(value)
  if (!seconds) return '0 s'
  const steps = [[1e-3, 1e6, 'µs'], [1, 1e3, 'ms'], [60, 1, 's'], [3600, 1 / 60, 'min'], [86400, 1 / 3600, 'h'], [Infinity, 1 / 86400, 'd']]
  const [, factor, unit] = steps.find(([below]) => Math.abs(seconds) < below)
  const amount = seconds * factor
  return `${amount < 10 ? NUMBER.format(amount) : Math.round(amount)} ${unit}`
}

export function bytes(value) {
  let amount = Number(value ?? 0)
  let unit = 0
  while (amount >= 1000 && unit < UNITS.length - 1) {
    amount /= 1000
    unit += 1
  }
  return `${amount < 10 && unit ? NUMBER.format(amount) : Math.round(amount)} ${UNITS[unit]}`
}

/** google.type.Money: its units may be negative, and so are its nanos then. */
export function money(value, digits) {
  if (!value) return '–'
  const amount = Number(value.units ?? 0) + (value.nanos ?? 0) / 1e9
  const shown = digits ?? (Math.abs(amount) > 0 && Math.abs(amount) < 0.01 ? 6 : 2)
  return new Intl.NumberFormat('en', { style: 'currency', currency: value.currencyCode || 'USD', minimumFractionDigits: shown, maximumFractionDigits: shown }).format(amount)
}

export const count = (value) => new Intl.NumberFormat('en').format(Number(value ?? 0))
export const rate = (value) => (value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value < 0.1 && value > 0 ? '<0.1' : value.toFixed(1))
export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)} %`

const two = (number) => String(number).padStart(2, '0')

/** A moment as its time of day, with milliseconds; with the date when it is not today. */
export function clock(value) {
  const time = new Date(value)
  if (Number.isNaN(time.getTime())) return '–'
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, '0')}`
  return time.toDateString() === new Date().toDateString() ? text : `${day(time)} ${text}`
}

export function day(value) {
  const time = new Date(value)
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`
}

/** How long ago, or in how long: "3 min ago", "in 2 h". */
export function ago(value, now = Date.now()) {
  const time = new Date(value).getTime()
  if (Number.isNaN(time)) return '–'
  const seconds = (now - time) / 1000
  if (Math.abs(seconds) < 1) return 'now'
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(-seconds)}`
}

/** A value of an enum without its prefix, in words: SERVING_STATE_NOT_SERVING with "SERVING_STATE_" is "not serving". */
export const word = (value = '', prefix = '') => value.replace(prefix, '').toLowerCase().replaceAll('_', ' ')

/** An id shortened in its middle; the whole of it belongs into a title. */
export const short = (id = '', length = 8) => (id.length > length + 2 ? `…${id.slice(-length)}` : id)
