// Job: elements and figures as text, for all pages.
// Knows: the document. Must never know: what is shown.

/** What moves a cursor, or turns the direction of writing: control characters, ends of lines, marks of direction. */
const CONTROLS = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/** Other people's text made harmless, as the terminal shows it: `\u{202e}` stands for what would turn a line round. */
export const plain = (text) => String(text).replace(CONTROLS, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

/** Attributes that people read, or hear. */
const SHOWN = new Set(['title', 'aria-label', 'placeholder']);

const isNode = (child) => typeof child === 'object' || typeof child === 'function';

export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. Children are text or elements: no text is ever read as HTML. `on…` adds a listener, `null` leaves
 * out.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (SHOWN.has(name)) setLabel(made, name, value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  const shown = children.filter((child) => child !== null && child !== undefined);
  made.append(...shown.map((child) => (isNode(child) ? child : plain(child))));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.map((child) => (isNode(child) ? child : plain(child))));
  return made;
}

/** Sets text only where it differs: nothing is laid out anew, and no selection is lost. */
export function setText(node, text) {
  const shown = plain(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** What is shown of a node where the mouse rests, or read aloud instead of it. */
export function setLabel(node, name, text) {
  node.setAttribute(name, plain(text));
}

/**
 * Keeps rows of a list in step with items: those that stay are changed in place, in order.
 * @param {Element} parent
 * @param {any[]} items
 * @param {(item) => string} keyOf
 * @param {(item) => Element} make
 * @param {(row, item) => void} show
 */
export function keepRows(parent, items, keyOf, make, show) {
  const rows = (parent.rowsByKey ??= new Map());
  const wanted = new Set();
  const { activeElement } = document;
  let at = null;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let row = rows.get(key);
    if (!row) rows.set(key, (row = make(item)));
    show(row, item);
    const next = at ? at.nextElementSibling : parent.firstElementChild;
    if (next !== row) parent.insertBefore(row, next);
    at = row;
  }
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  // What is moved loses the keyboard's focus, and gets it back.
  if (document.activeElement !== activeElement && parent.contains(activeElement))
    activeElement.focus({ preventScroll: true });
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `1 topic`, `2 topics`. */
export const some = (n, what) => `${whole.format(n)} ${what}${n === 1 ? '' : 's'}`;
export const count = (n) => whole.format(n);
export const rate = (n) => (n === 0 ? '0' : n < 20 ? n.toFixed(1) : whole.format(n));

export function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (n >= 999.5 && at < units.length - 1) [n, at] = [n / 1000, at + 1];
  return `${at === 0 || n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)} ${units[at]}`;
}

export function short(n) {
  if (n < 10_000) return whole.format(n);
  const units = ['', 'k', 'M', 'G', 'T'];
  let at = 0;
  while (n >= 999.5 && at < units.length - 1) [n, at] = [n / 1000, at + 1];
  return `${n >= 100 ? n.toFixed(0) : n.toFixed(1)}${units[at]}`;
}

export function ms(value) {
  if (value === null || value === undefined) return '–';
  if (value < 1) return `${value.toFixed(2)} ms`;
  return value < 10
    ? `${value.toFixed(1)} ms`
    : value < 1000
      ? `${value.toFixed(0)} ms`
      : `${(value / 1000).toFixed(1)} s`;
}

/** Seconds as people say them. */
export function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
  if (seconds < 172_800)
    return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0)} %`;
export const clock = (timeMs) => new Date(timeMs).toTimeString().slice(0, 8);
export const clockFine = (timeMs) => `${clock(timeMs)}.${String(Math.floor(timeMs % 1000)).padStart(3, '0')}`;
