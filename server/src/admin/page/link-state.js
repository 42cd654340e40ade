// Job: the state of the connection, how old what is shown is, and what the server says of itself where that is not clear.
// Knows: states of a connection. Must never know: figures.

import { $, clock, setText, span } from '../../page/ui/dom.js';

/** Figures come once a second: after so long without, though the server answers, something keeps them. */
export const STALE_MS = 3500;
/** So often the server is asked how it is, while that is not clear. */
const ASK_EVERY_MS = 2000;

const NAMES = {
  connecting: 'connecting',
  open: 'live',
  stale: 'stale',
  silent: 'link silent',
  waiting: 'disconnected',
  ended: 'ended',
  refused: 'refused',
  unauthorized: 'permission ended',
};
const BY_HAND = {
  ended: 'not tried again by itself',
  refused: 'trying again by itself would not help',
  unauthorized: 'a new permission is needed: reload the page',
};

/**
 * What is shown of the link.
 * @param {object} known
 * @param {import('../../page/client/connection.js').State} known.state
 * @param {number} known.forMs for how long it is so
 * @param {number|null} known.ageMs how old what is shown is; `null`: nothing has come yet
 * @param {string} known.refusal why the server does not grant its topics
 * @param {{isDraining?: boolean, hasEnded?: boolean, refused?: string}} known.said what the server has said of itself
 * @returns {{name: string, what: string|null, next: string}} `what` is `null` where all is well
 */
export function described({ state, forMs, ageMs, refusal, said }) {
  const { name, text, code, retryInMs } = state;
  if (name === 'open' && refusal !== '')
    return {
      name: 'refused',
      what: `The server does not grant its $sys topics here: ${refusal}`,
      next: 'docs/how-to/watch.md says what is needed',
    };
  const drains = 'The server drains: it sends its clients away, and ends';
  if (name === 'open' && said.isDraining) return { name: 'stale', what: drains, next: '' };
  if (name === 'open' && (ageMs ?? forMs) > STALE_MS)
    return { name: 'stale', what: 'No figures come, though the server answers', next: '' };
  if (name === 'open' || (name === 'connecting' && ageMs === null)) return { name, what: null, next: '' };
  const left = retryInMs === undefined ? 0 : Math.max(0, retryInMs - forMs) / 1000;
  const again = { waiting: `trying again in ${left.toFixed(1)} s`, connecting: 'trying again now', ...BY_HAND };
  const next = again[name] ?? '';
  if (said.refused) return { name: 'refused', what: `The admin port does not let this page in: ${said.refused}`, next };
  if (said.isDraining)
    return { name, what: said.hasEnded ? 'The server has been drained, and has ended' : drains, next };
  const word = NAMES[name];
  return { name, what: `${word[0].toUpperCase()}${word.slice(1)}: ${text}${code ? ` (${code})` : ''}`, next };
}

/** What the admin port says where its WebSocket cannot be had: a browser does not tell a page why. */
async function reason() {
  const answer = await fetch('/ws', { cache: 'no-store' });
  if (![401, 403, 421].includes(answer.status)) return health();
  const { error } = await answer.json();
  return { refused: String(error ?? answer.status).slice(0, 200) };
}

/** Whether the server ends. */
async function health() {
  const answer = await fetch('/health', { cache: 'no-store' });
  const { status } = await answer.json();
  return { isDraining: status === 'draining' };
}

export class LinkState {
  /** `again` tries once more, by hand. */
  constructor(again) {
    this.state = { name: 'connecting', text: '' };
    this.at = performance.now();
    this.heardMs = null;
    this.refusal = '';
    this.said = {};
    this.askedAt = -Infinity;
    $('banner-again').addEventListener('click', again);
  }

  take(state) {
    // A connection that is made anew is another server's, or the server's that has changed its mind.
    if (state.name === 'open' && this.state.name !== 'silent') {
      this.refusal = '';
      this.said = {};
    }
    this.state = state;
    this.at = performance.now();
    this.show();
  }

  /** The server does not grant what this page lives on. */
  refuse(text) {
    this.refusal = text;
    this.show();
  }

  heard() {
    this.heardMs = Date.now();
  }

  /** Asks the server how it is, where the connection does not tell. */
  async ask(how) {
    if (performance.now() - this.askedAt < ASK_EVERY_MS) return;
    this.askedAt = performance.now();
    const { at } = this;
    try {
      const said = await how();
      if (this.at === at) this.said = { ...this.said, ...said };
    } catch {
      // Nobody answers.
      if (this.said.isDraining) this.said = { ...this.said, hasEnded: true };
    }
  }

  show() {
    const forMs = performance.now() - this.at;
    const ageMs = this.heardMs === null ? null : Date.now() - this.heardMs;
    const { state, refusal, said } = this;
    const { name, what, next } = described({ state, forMs, ageMs, refusal, said });
    if (name === 'stale') this.ask(health);
    if (state.name === 'waiting') this.ask(reason);
    $('link').dataset.state = name;
    setText($('link-state'), said.isDraining && !said.hasEnded ? 'draining' : NAMES[name]);
    $('banner').hidden = what === null;
    if (what === null) return;
    setText($('banner-what'), what);
    const age =
      ageMs === null
        ? 'nothing has come yet'
        : `what is shown is of ${clock(this.heardMs)}, ${span(ageMs / 1000)} ago`;
    setText($('banner-more'), [age, next].filter(Boolean).join(' · '));
    $('banner-again').hidden = !(state.name in BY_HAND) && state.name !== 'waiting' && refusal === '';
  }
}
