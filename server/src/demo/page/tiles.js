// Job: the figures at the top, and the state of the link with what an operator needs to know of it.
// Knows: figures, states of a connection. Must never know: how they come about.

import { spark } from '../../page/ui/canvas.js';
import { $, clock, count, setText, span } from '../../page/ui/dom.js';

const NAMES = {
  connecting: 'connecting',
  open: 'live',
  silent: 'link silent',
  waiting: 'disconnected',
  ended: 'ended',
  refused: 'refused',
  unauthorized: 'permission ended',
};

export class LinkState {
  /** `again` tries once more by hand, where nothing is tried by itself. */
  constructor(again) {
    this.state = { name: 'connecting', text: 'connecting' };
    this.at = performance.now();
    this.heardMs = null;
    $('banner-again').addEventListener('click', again);
  }

  take(state) {
    // A silence that goes on is one state.
    if (state.name === 'open') this.wasOpen = true;
    if (state.name === 'open') this.sinceMs = null;
    else this.sinceMs ??= Date.now() - (state.silentMs ?? 0);
    this.state = state;
    this.at = performance.now();
    this.show();
  }

  get isOpen() {
    return this.state.name === 'open';
  }

  show() {
    const { name, text, code, retryInMs, isSlow } = this.state;
    $('link').dataset.state = name;
    setText($('link-state'), name === 'open' && isSlow ? 'slow link' : NAMES[name]);
    const isBad = name !== 'open' && (this.wasOpen || name !== 'connecting');
    $('banner').hidden = !isBad;
    if (!isBad) return;
    const left = retryInMs === undefined ? null : Math.max(0, retryInMs - (performance.now() - this.at)) / 1000;
    const next = {
      waiting: left === null ? '' : `trying again in ${left.toFixed(1)} s`,
      connecting: 'trying again now',
    }[name];
    const byHand = {
      ended: 'not tried again by itself',
      refused: 'trying again by itself would not help',
      unauthorized: 'a new permission is needed',
    };
    setText(
      $('banner-what'),
      `${NAMES[name][0].toUpperCase()}${NAMES[name].slice(1)}: ${text}${code ? ` (${code})` : ''}`,
    );
    const since = `What is shown is as of ${clock(this.sinceMs)}, ${span((Date.now() - this.sinceMs) / 1000)} ago`;
    setText($('banner-more'), [since, next ?? byHand[name]].filter(Boolean).join(' · '));
    $('banner-again').hidden = !(name in byHand) && name !== 'waiting';
  }
}

const history = new Array(60).fill(0);

export function showTiles(stream) {
  const { rate, byteRate, messages, bytes, p50, p99, gaps } = stream.total;
  setText($('k-rate'), count(rate));
  history.push(rate);
  history.shift();
  spark($('k-rate-line'), history, 'accent');
  const isMega = byteRate >= 1e6;
  setText($('k-bytes'), (byteRate / (isMega ? 1e6 : 1e3)).toFixed(isMega ? 2 : 0));
  setText($('k-bytes-unit'), isMega ? 'MB/s' : 'kB/s');
  setText($('k-total'), `${count(messages)} messages, ${(bytes / 1e6).toFixed(1)} MB`);
  setText($('k-p50'), p50 === null || p50 === undefined ? '–' : p50.toFixed(p50 < 10 ? 1 : 0));
  const estimated = stream.offsetMs === 0 ? '' : ' (clocks differ: estimated)';
  setText(
    $('k-p99'),
    p99 === null || p99 === undefined ? 'nothing in the last 10 s' : `99 %: ${p99.toFixed(1)} ms${estimated}`,
  );
  setText($('k-rtt'), stream.rttMs === null ? '–' : stream.rttMs.toFixed(1));
  setText($('k-lost'), count(stream.lost));
  const outages =
    stream.missed + stream.recovered > 0
      ? `${count(stream.missed)} in outages, ${count(stream.recovered)} came later`
      : null;
  setText($('k-gaps'), outages ?? (gaps ? `${count(gaps)} gaps, each announced` : 'no gaps'));
  $('t-gaps').classList.toggle('is-bad', stream.lost > 0);
  setText($('k-topics'), count(new Set(stream.lanes.map(({ topic }) => topic)).size));
}
