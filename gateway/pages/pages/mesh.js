// The mesh as a drawing that lives.

import { html } from '../lib/html.js'
import { Heading } from '../lib/ui.js'

export const title = 'Mesh'

export default function Mesh() {
  return html`<${Heading} title="Mesh" about="The door, the services behind it and the bus between them." />`
}
