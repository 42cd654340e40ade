// Job: the slow link: its switch, what each priority gets over it, and what was lost.
// Knows: figures and gap notices as stream.js hands them over. Must never know: the protocol, what a reading means.

const $ = (id) => document.getElementById(id);
const GAPS_KEPT = 80;
// A bar is full at this delay.
const BAR_FULL_MS = 3000;

const LINKS = [
  { name: 'Full', title: 'As fast as it goes' },
  { name: '64 kB/s', slow: 64, title: 'A slow link: low priority is thinned out' },
  { name: '24 kB/s', slow: 24, title: 'A thin link: low starves, normal is thinned out' },
];
const SAYING = {
  critical: 'never dropped',
  high: 'dropped last',
  normal: 'dropped after low',
  low: 'dropped first',
};

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const ms = (value) => (value === null ? '–' : value < 10 ? `${value.toFixed(1)} ms` : value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`);
const perSecond = (rate) => rate.toFixed(rate < 20 ? 1 : 0);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export class Link {
  /** `choose({ url, isSlow })` is called with where to connect. */
  constructor({ host, port, slowPort, choose }) {
    this.rows = new Map();
    this.gapCount = 0;
    this.urls = LINKS.map(({ slow }) => (slow ? `ws://${host}:${slowPort}/?slow=${slow}` : `ws://${host}:${port}/`));
    this.buttons = LINKS.map(({ name, title }, n) => {
      const button = element('button', { type: 'button', title }, name);
      button.addEventListener('click', () => {
        if (this.chosen === n) return;
        this.show(n);
        choose({ url: this.urls[n], isSlow: n > 0 });
      });
      $('link-speed').append(button);
      return button;
    });
    this.show(0);
  }

  get url() {
    return this.urls[this.chosen];
  }

  show(n) {
    this.chosen = n;
    this.buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(i === n)));
    document.documentElement.dataset.link = n > 0 ? 'slow' : 'full';
    $('lanes-speed').textContent = n > 0 ? LINKS[n].name : '';
    this.gapCount = 0;
    $('gap-log').replaceChildren(element('li', { class: 'empty' }, 'None so far'));
    $('gap-count').textContent = '';
  }

  onGaps(gaps) {
    if (this.chosen === 0) return;
    const list = $('gap-log');
    list.querySelector('.empty')?.remove();
    for (const { topic, priority, from, to, reason, timeMs } of gaps) {
      const lost = to - from + 1;
      this.gapCount++;
      list.prepend(
        element(
          'li',
          {},
          element('time', {}, new Date(timeMs).toTimeString().slice(0, 8)),
          element('span', { class: `chip ${priority}` }, priority),
          element('span', { class: 'what' }, topic),
          element('span', { class: 'range', title: `reason: ${reason}` }, `${from}–${to}`),
          element('b', {}, `−${number.format(lost)}`),
        ),
      );
    }
    while (list.children.length > GAPS_KEPT) list.lastChild.remove();
    $('gap-count').textContent = `${number.format(this.gapCount)} notices`;
  }

  onFigures({ priorities }) {
    if (this.chosen === 0 || !priorities) return;
    for (const figures of priorities) this.showRow(figures);
  }

  showRow(figures) {
    const { priority, rate, lostRate, lost, gaps, p50, p99, behindMs, silentMs } = figures;
    let row = this.rows.get(priority);
    if (!row) {
      const cells = Array.from({ length: 6 }, () => element('td'));
      const bar = element('i', { class: `behind ${priority}` });
      const behind = element('span', { class: 'behind-text' });
      cells[5].append(element('span', { class: 'track' }, bar), behind);
      cells[5].className = 'lag';
      const name = element('td', {}, element('span', { class: `chip ${priority}` }, priority), element('small', {}, SAYING[priority]));
      const tr = element('tr', {}, name, ...cells);
      $('lanes').append(tr);
      row = { cells, bar, behind };
      this.rows.set(priority, row);
    }
    const [rateCell, share, lostCell, p50Cell, p99Cell] = row.cells;
    rateCell.textContent = perSecond(rate);
    const published = rate + lostRate;
    share.textContent = published > 0 ? `${Math.round((rate / published) * 100)} %` : '–';
    lostCell.replaceChildren(number.format(lost), ...(lost ? [element('span', { class: 'in' }, ` in ${number.format(gaps)}`)] : []));
    lostCell.classList.toggle('is-lost', lost > 0);
    p50Cell.textContent = ms(p50);
    p99Cell.textContent = ms(p99);
    // What is silent only because it loses everything is as far behind as it has been silent.
    const isStarved = lostRate > 0 && (silentMs === null || silentMs > 2000);
    const shown = isStarved ? BAR_FULL_MS : behindMs;
    row.bar.style.width = `${Math.min(100, ((shown ?? 0) / BAR_FULL_MS) * 100)}%`;
    row.behind.textContent = isStarved ? 'starved' : ms(shown);
  }
}
