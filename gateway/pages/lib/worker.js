// The SharedWorker: one hub for all tabs of this browser.

import { Hub } from './hub.js'

const hub = new Hub()
self.onconnect = ({ ports: [port] }) => hub.connect(port)
