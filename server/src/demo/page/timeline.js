// Job: which time is shown: live or paused, how wide, scrolled back how far, and where the cursor is.
// Knows: times, the controls' elements. Must never know: what is plotted.

import { $, clockFine, element, setText } from '../../page/ui/dom.js';
import { STRIP_LEFT } from './plots.js';

const WINDOWS = [
  ['10s', 10],
  ['1m', 60],
  ['10m', 600],
  ['1h', 3600],
];
/** As far back as anything is kept. */
const BACK_MAX_S = 3600;

export class Timeline {
  constructor(address) {
    this.address = address;
    this.nowUs = 0;
    /** `null`: live; else where the right edge stands. */
    this.heldUs = null;
    this.cursorShare = null;
    this.buttons = WINDOWS.map(([name]) =>
      element('button', { type: 'button', onclick: () => address.set({ window: name }) }, name),
    );
    $('windows').append(...this.buttons);
    $('pause').addEventListener('click', () => this.toggle());
    $('scroll-back').addEventListener('input', (event) => this.goBack(BACK_MAX_S - Number(event.target.value)));
    document.addEventListener('keydown', (event) => this.onKey(event));
  }

  get windowUs() {
    const [, seconds] = WINDOWS.find(([name]) => name === this.address.get('window')) ?? WINDOWS[0];
    return seconds * 1e6;
  }
  get endUs() {
    return this.heldUs ?? this.nowUs;
  }
  get isPaused() {
    return this.heldUs !== null;
  }
  get cursorUs() {
    return this.cursorShare === null ? null : this.endUs - this.windowUs * (1 - this.cursorShare);
  }

  toggle() {
    this.heldUs = this.isPaused ? null : this.nowUs;
  }

  /** The right edge so many seconds before now; live again at 0. */
  goBack(seconds) {
    this.heldUs = seconds < 0.5 ? null : this.nowUs - Math.min(BACK_MAX_S, seconds) * 1e6;
  }

  move(us) {
    this.goBack((this.nowUs - this.endUs - us) / 1e6);
  }

  /** The cursor follows the mouse over these strips; a wheel, or a finger that draws sideways, scrolls. */
  watch(strips) {
    const shareOf = (event) => {
      const { left, width } = strips.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - left - STRIP_LEFT) / (width - STRIP_LEFT)));
    };
    let dragged = null;
    strips.addEventListener('pointermove', (event) => {
      this.cursorShare = shareOf(event);
      if (dragged === null) return;
      this.move(-((event.clientX - dragged) / strips.clientWidth) * this.windowUs);
      dragged = event.clientX;
    });
    strips.addEventListener('pointerdown', (event) => (dragged = event.clientX));
    addEventListener('pointerup', () => (dragged = null));
    strips.addEventListener('pointerleave', () => (this.cursorShare = null));
    const wheel = (event) => {
      const by = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.shiftKey ? event.deltaY : 0;
      if (by === 0) return;
      event.preventDefault();
      this.move((by / strips.clientWidth) * this.windowUs);
    };
    strips.addEventListener('wheel', wheel, { passive: false });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(event.target.tagName))
      return;
    const step = this.windowUs * (event.shiftKey ? 0.5 : 0.1);
    const keys = {
      ' ': () => this.toggle(),
      ArrowLeft: () => this.move(-step),
      ArrowRight: () => this.move(step),
      Home: () => this.goBack(BACK_MAX_S),
      End: () => this.goBack(0),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  /** Tells the time by the server's clock; to be called before each drawing. */
  tick(nowUs) {
    this.nowUs = nowUs;
  }

  show() {
    const behindS = (this.nowUs - this.endUs) / 1e6;
    this.buttons.forEach((button, n) =>
      button.setAttribute('aria-pressed', String(WINDOWS[n][1] * 1e6 === this.windowUs)),
    );
    setText($('pause'), this.isPaused ? '▶ Live' : '❚❚ Pause');
    $('pause').setAttribute('aria-pressed', String(this.isPaused));
    const range = $('scroll-back');
    if (document.activeElement !== range || !this.isPaused) range.value = String(BACK_MAX_S - behindS);
    const text = this.isPaused ? `${clockFine(this.endUs / 1000)}, ${behindS.toFixed(0)} s ago` : 'live';
    range.setAttribute('aria-valuetext', text);
    setText($('shown-time'), this.cursorUs === null ? text : clockFine(this.cursorUs / 1000));
    document.documentElement.dataset.paused = String(this.isPaused);
  }
}
