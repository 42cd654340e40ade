// Job: the state of the connection, and how old what is shown is.
// Knows: states of a connection. Must never know: figures.

import { $, clock, setText, span } from '../../page/ui/dom.js';

const NAMES = {
  connecting: 'connecting',
  open: 'live',
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

export class LinkState {
  /** `again` tries once more, by hand. */
  constructor(again) {
    this.state = { name: 'connecting', text: '' };
    this.at = performance.now();
    this.heardMs = null;
    this.refusal = '';
    $('banner-again').addEventListener('click', again);
  }

  take(state) {
    if (state.name === 'open') this.refusal = '';
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

  show() {
    const { name, text, code, retryInMs } = this.state;
    const isRefused = name === 'open' && this.refusal !== '';
    $('link').dataset.state = isRefused ? 'refused' : name;
    setText($('link-state'), isRefused ? 'refused' : NAMES[name]);
    const isBad = isRefused || (name !== 'open' && (name !== 'connecting' || this.heardMs !== null));
    $('banner').hidden = !isBad;
    if (!isBad) return;
    if (isRefused) {
      setText($('banner-what'), `The server does not grant its $sys topics here: ${this.refusal}`);
      setText($('banner-more'), 'docs/how-to/watch.md says what is needed');
      $('banner-again').hidden = false;
      return;
    }
    setText(
      $('banner-what'),
      `${NAMES[name][0].toUpperCase()}${NAMES[name].slice(1)}: ${text}${code ? ` (${code})` : ''}`,
    );
    const left = retryInMs === undefined ? 0 : Math.max(0, retryInMs - (performance.now() - this.at)) / 1000;
    const next = { waiting: `trying again in ${left.toFixed(1)} s`, connecting: 'trying again now', ...BY_HAND }[name];
    const age =
      this.heardMs === null
        ? 'nothing has come yet'
        : `what is shown is of ${clock(this.heardMs)}, ${span((Date.now() - this.heardMs) / 1000)} ago`;
    setText($('banner-more'), [age, next].filter(Boolean).join(' · '));
    $('banner-again').hidden = !(name in BY_HAND) && name !== 'waiting';
  }
}
