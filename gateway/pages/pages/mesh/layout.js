// Where everything of the drawing stands, from the names of the services and the width there is; nothing here knows a service.

const GAP = 14
const SMALL = 760

/**
 * @typedef {{x: number, y: number, w: number, h: number}} Box
 * @typedef {{x1: number, y1: number, x2: number, y2: number, tx: number, ty: number, anchor: string}} Edge  a line, and where its words stand
 * @typedef {{width: number, height: number, small: boolean, door: Box, bus: Box, services: {name: string, box: Box, call: Edge, tell: Edge, hear: Edge}[], busCall: Edge}} Layout
 */

/** @returns {Layout} columns between two bars, or rows where the screen is narrow */
export const layout = (names, width) => (width < SMALL ? rows(names, width) : columns(names, width))

function columns(names, width) {
  const [side, bar, boxTop, boxHeight, busTop] = [96, 46, 138, 82, 312]
  const step = (width - side) / Math.max(names.length, 1)
  const boxWidth = Math.min(step - GAP, 190)
  const services = names.map((name, index) => {
    const middle = Math.round(step * (index + 0.5))
    const down = { y1: boxTop + boxHeight, y2: busTop, ty: (boxTop + boxHeight + busTop) / 2 }
    return {
      name,
      box: { x: middle - boxWidth / 2, y: boxTop, w: boxWidth, h: boxHeight },
      call: { x1: middle, y1: bar, x2: middle, y2: boxTop, tx: middle + 8, ty: (bar + boxTop) / 2, anchor: 'start' },
      tell: { ...down, x1: middle - 16, x2: middle - 16, tx: middle - 24, anchor: 'end' },
      hear: { x1: middle + 16, y1: busTop, x2: middle + 16, y2: boxTop + boxHeight, tx: middle + 24, ty: down.ty, anchor: 'start' },
    }
  })
  const x = width - side / 2 - 8
  return {
    width, height: busTop + bar, small: false, services,
    door: { x: 0, y: 0, w: width, h: bar },
    bus: { x: 0, y: busTop, w: width, h: bar },
    busCall: { x1: x, y1: bar, x2: x, y2: busTop, tx: x + 8, ty: (bar + busTop) / 2, anchor: 'start' },
  }
}

function rows(names, width) {
  const [bar, step, boxHeight] = [30, 92, 78]
  const edge = Math.max(58, (width - 2 * bar - 200) / 2)
  const boxWidth = width - 2 * (bar + edge)
  const services = names.map((name, index) => {
    const top = index * step
    const middle = top + boxHeight / 2
    const right = { x1: bar + edge + boxWidth, x2: width - bar, tx: width - bar - edge / 2, anchor: 'middle' }
    return {
      name,
      box: { x: bar + edge, y: top, w: boxWidth, h: boxHeight },
      call: { x1: bar, y1: middle, x2: bar + edge, y2: middle, tx: bar + edge / 2, ty: middle - 16, anchor: 'middle' },
      tell: { ...right, y1: middle - 12, y2: middle - 12, ty: middle - 20 },
      hear: { ...right, x1: right.x2, x2: right.x1, y1: middle + 12, y2: middle + 12, ty: middle + 26 },
    }
  })
  const height = names.length * step + 48
  return {
    width, height, small: true, services,
    door: { x: 0, y: 0, w: bar, h: height },
    bus: { x: width - bar, y: 0, w: bar, h: height },
    busCall: { x1: bar, y1: height - 12, x2: width - bar, y2: height - 12, tx: width / 2, ty: height - 30, anchor: 'middle' },
  }
}
