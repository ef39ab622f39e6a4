// Preact and htm in one import: `html` makes elements from a template, the rest are Preact's own names.

import { h, render, Component, Fragment } from '../vendor/preact.mjs'
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/hooks.mjs'
import htm from '../vendor/htm.mjs'

export const html = htm.bind(h)
export { Component, Fragment, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState }
