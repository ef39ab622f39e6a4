// What moves along the edges: a dot a call or event, and no more than an eye can follow. Where motion is unwelcome, nothing moves.

const TRAVEL_MS = 900
const MOST = 240
const TURN_MS = 100
const MOST_A_TURN = 3
const still = matchMedia('(prefers-reduced-motion: reduce)')
const NAMESPACE = 'http://www.w3.org/2000/svg'

/** Lets dots travel in a layer of the drawing. */
export class Dots {
  #layer
  #edges = new Map()
  #rates = new Map()
  #due = new Map()
  #turn = new Map()
  #timer

  /** The layer to draw into; undefined when it is gone. */
  attach(layer) {
    this.#layer = layer
    clearInterval(this.#timer)
    this.#timer = layer && setInterval(() => this.#tick(), TURN_MS)
  }

  /** Where the edges are now, and how many dots a second each has by itself. */
  set(edges, rates) {
    this.#edges = edges
    this.#rates = rates
  }

  /** One dot along this edge, after a while. */
  send(name, afterMs = 0) {
    if (still.matches || document.hidden || !this.#layer) return
    if (afterMs) {
      setTimeout(() => this.send(name), afterMs)
      return
    }
    const sent = this.#turn.get(name) ?? 0
    const edge = this.#edges.get(name)
    if (!edge || sent >= MOST_A_TURN || this.#layer.childElementCount >= MOST) return
    this.#turn.set(name, sent + 1)
    const dot = document.createElementNS(NAMESPACE, 'circle')
    dot.setAttribute('r', '3')
    dot.setAttribute('class', `dot ${name.split(' ')[0]}`)
    this.#layer.append(dot)
    const path = [{ transform: `translate(${edge.x1}px, ${edge.y1}px)` }, { transform: `translate(${edge.x2}px, ${edge.y2}px)` }]
    dot.animate(path, { duration: TRAVEL_MS, easing: 'ease-in-out', fill: 'both', delay: sent * (TURN_MS / MOST_A_TURN) }).onfinish = () => dot.remove()
  }

  #tick() {
    this.#turn.clear()
    for (const [name, rate] of this.#rates) {
      const due = Math.min((this.#due.get(name) ?? 0) + (rate * TURN_MS) / 1000, MOST_A_TURN)
      for (let sent = 1; sent <= due; sent += 1) this.send(name)
      this.#due.set(name, due % 1)
    }
  }
}
