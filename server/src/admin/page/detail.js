// Job: all that is known of the chosen client: its lanes, the exact ranges that it lost, its lag over the last minutes.
// Knows: a client of `$sys/clients`. Must never know: sockets.

import { spark } from '../../page/ui/canvas.js';
import { $, bytes, count, element, keepRows, percent, setLabel, setText } from '../../page/ui/dom.js';
import { setBar } from './charts.js';
import { barWithMarks, factsOf } from './clients.js';

export class Detail {
  /** @param {{onClose: (client) => void, onLeave: () => void, onFollow: (topic) => void}} options */
  constructor({ onClose, onLeave, onFollow }) {
    Object.assign(this, { onFollow });
    this.last = null;
    $('detail-close').addEventListener('click', () => this.last && onClose(this.last));
    $('detail-leave').addEventListener('click', onLeave);
  }

  /** Shows a client; where it is not among those that are told of any more, what was last known of it. */
  show(id, client, trail) {
    $('detail').hidden = id === '';
    if (id === '') {
      this.last = null;
      return;
    }
    if (client) this.last = client;
    const known = this.last?.id === id ? this.last : null;
    setText($('detail-name'), `Client ${id}`);
    const isGone = !client;
    setText($('detail-state'), isGone ? 'not among those told of: it is gone, or neither behind nor costly' : '');
    $('detail-close').disabled = isGone;
    $('detail-body').hidden = known === null;
    if (!known) return;
    keepRows($('detail-facts'), factsOf(known), ([name]) => name, factRow, showFact);
    keepRows(
      $('detail-lanes'),
      known.lanes ?? [],
      ({ topic, priority }) => `${topic} ${priority}`,
      () => this.laneRow(),
      showLane,
    );
    $('detail-no-lanes').hidden = (known.lanes ?? []).length > 0;
    const lost = known.lost ?? [];
    keepRows($('detail-lost'), lost, ({ topic, priority, from }) => `${topic} ${priority} ${from}`, lostRow, showLost);
    $('detail-no-lost').hidden = lost.length > 0;
    const rest = (known.lost_total ?? 0) - lost.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    setText($('detail-more-lost'), lost.length > 0 && rest > 0 ? `and ${count(rest)} messages before these` : '');
    const values = trail?.list ?? [];
    spark($('detail-trail'), values.length > 1 ? values : [0, ...values], 'accent');
    // The trail has means of seconds: what is now may be above them.
    const now = known.used ?? 0;
    setText($('detail-trail-now'), `${percent(now)} now, ${percent(Math.max(now, ...values))} at most`);
  }

  laneRow() {
    const row = element('li', { class: 'lane-row' });
    row.chip = element('span', { class: 'chip' });
    row.follow = element('button', { type: 'button', class: 'plain mono', onclick: () => this.onFollow(row.topic) });
    row.bar = barWithMarks('used');
    row.text = element('small');
    row.append(row.chip, row.follow, row.bar, row.text);
    return row;
  }
}

function factRow([name, , explain]) {
  const row = element('div', { class: 'fact', 'data-explain': explain });
  row.value = element('dd');
  row.append(element('dt', {}, name), row.value);
  return row;
}

function showFact(row, [, value]) {
  setText(row.value, String(value));
}

function showLane(row, { topic, priority, behind_messages: messages, behind_bytes: size, used }) {
  row.topic = topic;
  row.chip.className = `chip ${priority}`;
  setText(row.chip, priority);
  setText(row.follow, topic);
  setLabel(row.follow, 'title', `Follow ${topic}`);
  setBar(row.bar, used ?? 0);
  row.bar.setAttribute('aria-label', `${percent(used ?? 0)} behind`);
  setText(row.text, `${percent(used ?? 0)} · ${count(messages ?? 0)} messages · ${bytes(size ?? 0)}`);
}

function lostRow() {
  const row = element('li', { class: 'lost-row' });
  row.chip = element('span', { class: 'chip' });
  row.topic = element('span', { class: 'mono' });
  row.range = element('span', { class: 'mono' });
  row.count = element('b', { class: 'is-lost' });
  row.append(row.chip, row.topic, row.range, row.count);
  return row;
}

/** A range grows as long as its client cannot be told of it. */
function showLost(row, { topic, priority, from, to }) {
  row.chip.className = `chip ${priority}`;
  setText(row.chip, priority);
  setText(row.topic, topic);
  setText(row.range, `${from}–${to}`);
  setText(row.count, `−${count(to - from + 1)}`);
}
