// Job: the slow link: its switch, what each priority gets over it, and what was lost.
// Knows: figures and gaps as the worker hands them over. Must never know: the protocol, what a reading means.

import { $, clock, count, element, ms, rate as perSecond, setText } from '../../page/ui/dom.js';

const GAPS_KEPT = 80;
// A bar is full at this delay.
const BAR_FULL_MS = 3000;

const LINKS = [
  { key: 'full', name: 'Full', title: 'As fast as it goes' },
  { key: '64', name: '64 kB/s', slow: 64, title: 'A slow link: low priority is thinned out' },
  { key: '24', name: '24 kB/s', slow: 24, title: 'A thin link: low starves, normal is thinned out' },
];
const SAYING = {
  critical: 'never dropped',
  high: 'dropped last',
  normal: 'dropped after low',
  low: 'dropped first',
};

export class Link {
  /** `choose({ url, isSlow })` is called with where to connect. */
  constructor({ host, port, slowPort, address, choose }) {
    this.rows = new Map();
    this.gapCount = 0;
    this.address = address;
    this.choose = choose;
    this.urls = LINKS.map(({ slow }) => (slow ? `ws://${host}:${slowPort}/?slow=${slow}` : `ws://${host}:${port}/`));
    this.buttons = LINKS.map(({ key, name, title }) =>
      element('button', { type: 'button', title, onclick: () => address.set({ link: key }) }, name),
    );
    $('link-speed').append(...this.buttons);
    this.show(this.wanted);
    address.onChange(() => this.follow());
  }

  get wanted() {
    return Math.max(
      0,
      LINKS.findIndex(({ key }) => key === this.address.get('link')),
    );
  }
  get url() {
    return this.urls[this.chosen];
  }
  get isSlow() {
    return this.chosen > 0;
  }

  follow() {
    if (this.wanted === this.chosen) return;
    this.show(this.wanted);
    this.choose({ url: this.url, isSlow: this.isSlow });
  }

  show(n) {
    this.chosen = n;
    this.buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === n)));
    document.documentElement.dataset.link = n > 0 ? 'slow' : 'full';
    setText($('lanes-speed'), n > 0 ? LINKS[n].name : '');
    this.gapCount = 0;
    $('gap-log').replaceChildren(element('li', { class: 'empty' }, 'None so far'));
    $('gap-count').textContent = '';
  }

  onGaps(gaps) {
    if (!this.isSlow) return;
    const list = $('gap-log');
    list.querySelector('.empty')?.remove();
    for (const { topic, priority, from, to, reason, lost, timeMs } of gaps) {
      this.gapCount++;
      list.prepend(
        element(
          'li',
          {},
          element('time', {}, clock(timeMs)),
          element('span', { class: `chip ${priority}` }, priority),
          element('span', { class: 'what' }, topic),
          element('span', { class: 'range', title: `reason: ${reason}` }, `${from}–${to}`),
          element('b', {}, `−${count(lost)}`),
        ),
      );
    }
    while (list.children.length > GAPS_KEPT) list.lastChild.remove();
    $('gap-count').textContent = `${count(this.gapCount)} notices`;
  }

  onFigures({ priorities }) {
    if (!this.isSlow || !priorities) return;
    for (const figures of priorities) this.showRow(figures);
  }

  makeRow(priority) {
    const cells = Array.from({ length: 6 }, () => element('td'));
    const bar = element('i', { class: `behind ${priority}` });
    const behind = element('span', { class: 'behind-text' });
    cells[5].append(element('span', { class: 'track' }, bar), behind);
    cells[5].className = 'lag';
    const name = element(
      'td',
      {},
      element('span', { class: `chip ${priority}` }, priority),
      element('small', {}, SAYING[priority]),
    );
    $('lanes').append(element('tr', {}, name, ...cells));
    const row = { cells, bar, behind };
    this.rows.set(priority, row);
    return row;
  }

  showRow({ priority, rate, lostRate, lost, gaps, p50, p99, lastMs, silentMs }) {
    const row = this.rows.get(priority) ?? this.makeRow(priority);
    const [rateCell, share, lostCell, p50Cell, p99Cell] = row.cells;
    setText(rateCell, perSecond(rate));
    const published = rate + lostRate;
    setText(share, published > 0 ? `${Math.round((rate / published) * 100)} %` : '–');
    setText(lostCell, lost ? `${count(lost)} in ${count(gaps)}` : '0');
    lostCell.classList.toggle('is-lost', lost > 0);
    setText(p50Cell, ms(p50));
    setText(p99Cell, ms(p99));
    // What is silent only because it loses everything is as far behind as it has been silent.
    const isStarved = lostRate > 0 && (silentMs === null || silentMs > 2000);
    const shown = isStarved ? BAR_FULL_MS : lastMs;
    row.bar.style.width = `${Math.min(100, ((shown ?? 0) / BAR_FULL_MS) * 100)}%`;
    setText(row.behind, isStarved ? 'starved' : ms(shown));
  }
}
