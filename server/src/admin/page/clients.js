// Job: the table of clients: who is furthest behind, or costs most, first; with what it has lost and why it lags.
// Knows: a client of `$sys/clients`. Must never know: sockets, how a client is closed.

import {
  bytes,
  count,
  element,
  keepRows,
  percent,
  rate,
  setLabel,
  setText,
  short,
  some,
  span,
} from '../../page/ui/dom.js';
import { setBar } from './charts.js';

/** A step of work is about 100 ns of a shard. */
const STEPS_A_SECOND = 1e7;
const CAUSES = { link: 'warn', reader: 'bad', burst: 'good' };

export const shareOf = (client) => (client.work_per_s ?? 0) / STEPS_A_SECOND;
export const lostText = (lost) => (lost ? `${lost.topic} ${lost.from}–${lost.to}` : '');

/** A bar with the marks at which a lane counts as lagging, and drops. */
export function barWithMarks(label) {
  return element(
    'span',
    { class: 'level', role: 'img', 'data-explain': label },
    element('i'),
    element('s', { class: 'mark at-70' }),
    element('s', { class: 'mark at-90' }),
  );
}

function cell(name, explain, ...children) {
  return element('td', { class: name, 'data-explain': explain }, ...children);
}

export class Clients {
  /** @param {{rows: Element, onSelect: (id) => void, onClose: (client) => void}} options */
  constructor({ rows, onSelect, onClose }) {
    Object.assign(this, { rows, onSelect, onClose });
    /** While the pointer is over the table rows keep their places: what is aimed at stays. */
    this.heldOrder = null;
    rows.addEventListener(
      'pointerenter',
      (event) => event.pointerType !== 'touch' && (this.heldOrder = this.order ?? []),
    );
    rows.addEventListener('pointerleave', () => (this.heldOrder = null));
    rows.addEventListener('keydown', (event) => this.onKey(event));
  }

  onKey(event) {
    const row = event.target.closest('tr');
    const to = { ArrowDown: row?.nextElementSibling, ArrowUp: row?.previousElementSibling }[event.key];
    if (to) {
      event.preventDefault();
      to.focus();
    } else if (event.target === row && (event.key === 'Enter' || event.key === ' ')) {
      event.preventDefault();
      this.onSelect(row.client.id);
    }
  }

  show(clients, trails, { selected, words }) {
    const isMeant = (client) => !words || textOf(client).includes(words.toLowerCase());
    const shown = this.arranged(clients.filter(isMeant));
    this.order = shown.map(({ id }) => id);
    keepRows(
      this.rows,
      shown,
      ({ id }) => id,
      () => this.make(),
      (row, client) => this.update(row, client, trails, selected),
    );
    return shown.length;
  }

  arranged(clients) {
    if (!this.heldOrder) return clients;
    const place = new Map(this.heldOrder.map((id, n) => [id, n]));
    const at = ({ id }) => place.get(id) ?? Infinity;
    return [...clients].sort((a, b) => (at(a) === at(b) ? 0 : at(a) - at(b)));
  }

  make() {
    const row = element('tr', { tabindex: '0' });
    row.addEventListener('click', (event) => !event.target.closest('button') && this.onSelect(row.client.id));
    const part = (row.fields = {
      id: element('b', { class: 'mono' }),
      who: element('small'),
      topic: element('span', { class: 'mono' }),
      more: element('small'),
      chip: element('span', { class: 'chip' }),
      bar: barWithMarks('used'),
      used: element('span', { class: 'figure' }),
      bytes: element('td', { 'data-explain': 'behind_bytes', class: 'behind' }),
      drops: element('td', { 'data-explain': 'drops_in', class: 'drops' }),
      cause: element('span', { class: 'chip' }),
      lost: element('b'),
      range: element('small', { class: 'mono' }),
      work: element('td', { 'data-explain': 'work', class: 'work' }),
      sent: element('td', { 'data-explain': 'sent_of', class: 'sent' }),
      close: element(
        'button',
        { type: 'button', class: 'small grave', 'data-explain': 'close', onclick: () => this.onClose(row.client) },
        'Close',
      ),
    });
    row.append(
      cell('who', 'client', part.id, part.who),
      cell('lane left', 'lane', element('span', { class: 'line' }, part.chip, part.topic), part.more),
      cell('used', null, part.bar, part.used),
      part.bytes,
      part.drops,
      cell('cause left', 'cause', part.cause),
      cell('lost', 'lost_of', part.lost, part.range),
      part.work,
      part.sent,
      cell('act', null, part.close),
    );
    return row;
  }

  update(row, client, trails, selected) {
    row.client = client;
    const part = row.fields;
    const [worst] = client.lanes ?? [];
    setText(part.id, client.id);
    setText(part.who, [client.subject, client.peer].filter(Boolean).join(' · ') || 'Unix socket');
    setText(part.topic, worst?.topic ?? 'nothing waits');
    setText(part.chip, worst?.priority ?? '–');
    part.chip.className = `chip ${worst?.priority ?? ''}`;
    setText(part.more, `${some(client.subscriptions ?? 0, 'topic')} · ${client.form}`);
    const used = client.used ?? 0;
    setBar(part.bar, used);
    part.bar.setAttribute('aria-label', `${percent(used)} of its worst lane behind`);
    setText(part.used, percent(used));
    setText(part.bytes, bytes(client.behind_bytes ?? 0));
    const drops = client.drops_in_s;
    setText(part.drops, dropsIn(drops, '–'));
    part.drops.classList.toggle('is-lost', drops !== null && drops !== undefined && drops < 10);
    setText(part.cause, client.cause ?? '–');
    part.cause.className = `chip ${CAUSES[client.cause] ?? ''}`;
    setText(part.lost, short(client.lost_total ?? 0));
    part.lost.classList.toggle('is-lost', (client.lost_total ?? 0) > 0);
    setText(part.range, client.lost?.[0] ? `${client.lost[0].from}–${client.lost[0].to}` : '');
    setLabel(part.range, 'title', lostText(client.lost?.[0]));
    setText(part.work, percent(shareOf(client)));
    setText(part.sent, `${bytes(client.sent_bytes_per_s ?? 0)}/s`);
    row.setAttribute('aria-selected', String(client.id === selected));
    setLabel(part.close, 'aria-label', `Close ${client.id}`);
  }
}

/** Seconds until a client loses something, for people. */
function dropsIn(seconds, never) {
  if (!Number.isFinite(seconds)) return never;
  return seconds === 0 ? 'now' : seconds > 3600 ? '> 1 h' : span(seconds);
}

const textOf = ({ id, peer, subject, form, cause, lanes }) =>
  [id, peer, subject, form, cause, ...(lanes ?? []).map(({ topic }) => topic)].join(' ').toLowerCase();

/** Facts of one client, as [name, value, key of the explanation]. */
export function factsOf(client) {
  return [
    ['Client', client.id, 'client'],
    ['Address', client.peer ?? 'Unix socket', 'client'],
    ['Who', client.subject ?? 'not known', 'client'],
    ['Form', client.form, 'compressed'],
    ['Connected', `${span(client.connected_s ?? 0)} ago`, 'connections'],
    ['Topics', count(client.subscriptions ?? 0), 'lane'],
    ['Behind', `${count(client.behind_messages ?? 0)} messages, ${bytes(client.behind_bytes ?? 0)}`, 'behind_bytes'],
    ['Drops in', dropsIn(client.drops_in_s, 'not as it goes'), 'drops_in'],
    ['Cause', client.cause ?? 'none', 'cause'],
    ['Work', `${percent(shareOf(client))} of a shard, ${rate(client.work_per_s ?? 0)} steps/s`, 'work'],
    ['Sent', `${bytes(client.sent_bytes_per_s ?? 0)}/s`, 'sent_of'],
    ['Lost', `${count(client.lost_total ?? 0)} messages`, 'lost_of'],
  ];
}
