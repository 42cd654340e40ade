// Job: the card of alarms: those that hold, with a button to acknowledge each; what was; the filter; the sound.
// Knows: the state of alarms (alarms.js). Must never know: where they come from.

import { $, clock, element, keepRows, setLabel, setText, span } from '../../page/ui/dom.js';

const BEEP_MS = 180;

export class AlarmList {
  constructor(alarms, address) {
    this.alarms = alarms;
    this.address = address;
    this.audio = null;
    $('alarm-ack-all').addEventListener('click', () => {
      alarms.acknowledgeAll();
      this.show();
    });
    $('alarm-words').value = address.get('find');
    $('alarm-words').addEventListener('input', (event) => address.set({ find: event.target.value }));
    for (const [id, name] of [
      ['alarm-level', 'level'],
      ['alarm-view', 'alarms'],
    ]) {
      $(id).value = address.get(name);
      $(id).addEventListener('change', (event) => address.set({ [name]: event.target.value }));
    }
    $('alarm-sound').addEventListener('click', () => this.switchSound());
    address.onChange(() => this.show());
  }

  get filter() {
    const levels = { all: null, high: ['critical', 'high'], critical: ['critical'] };
    const view = this.address.get('alarms');
    return {
      priorities: levels[this.address.get('level')] ?? null,
      words: this.address.get('find'),
      isOpenOnly: view === 'open',
    };
  }

  /** A browser lets a page sound only after somebody has touched it: the button is that touch. */
  switchSound() {
    if (this.audio) {
      this.audio.close();
      this.audio = null;
    } else {
      this.audio = new AudioContext();
      this.sound('high');
    }
    $('alarm-sound').setAttribute('aria-pressed', String(this.audio !== null));
    setText($('alarm-sound'), this.audio ? 'Sound on' : 'Sound off');
  }

  sound(priority) {
    if (!this.audio || (priority !== 'critical' && priority !== 'high')) return;
    const tone = this.audio.createOscillator();
    const gain = this.audio.createGain();
    const now = this.audio.currentTime;
    tone.frequency.value = priority === 'critical' ? 880 : 587;
    gain.gain.setValueAtTime(0.001, now);
    gain.gain.exponentialRampToValueAtTime(0.2, now + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.001, now + BEEP_MS / 1000);
    tone.connect(gain).connect(this.audio.destination);
    tone.start(now);
    tone.stop(now + BEEP_MS / 1000);
  }

  show() {
    const { alarms } = this;
    const isPast = this.address.get('alarms') === 'past';
    const { counts } = alarms;
    const parts = ['critical', 'high', 'normal'].filter((p) => counts[p]).map((p) => `${counts[p]} ${p}`);
    setText(
      $('alarm-count'),
      parts.length ? `${parts.join(' · ')}${counts.open ? `, ${counts.open} unseen` : ''}` : 'none active',
    );
    $('alarm-count').className = counts.critical ? 'is-lost' : '';
    $('alarm-ack-all').disabled = counts.open === 0;
    const lines = isPast ? alarms.listPast(this.filter) : alarms.list(this.filter);
    if (isPast !== this.wasPast) ($('alarms').rowsByKey?.clear(), $('alarms').replaceChildren());
    this.wasPast = isPast;
    const keyOf = isPast ? (line) => `${line.timeUs} ${line.source} ${line.text}` : ({ key }) => key;
    keepRows(
      $('alarms'),
      lines,
      keyOf,
      (line) => (isPast ? pastRow(line) : this.activeRow(line)),
      isPast ? () => {} : showActive,
    );
    $('alarms-empty').hidden = lines.length > 0;
    const isFiltered = this.filter.words || this.filter.priorities;
    setText(
      $('alarms-empty'),
      isFiltered ? 'Nothing that the filter lets through' : isPast ? 'Nothing so far' : 'No alarm is active',
    );
  }

  activeRow({ key }) {
    const row = element('li', { class: 'alarm' });
    row.chip = element('span', { class: 'chip' });
    row.who = element('span', { class: 'who' });
    row.what = element('span', { class: 'what' });
    row.age = element('time');
    row.button = element('button', { type: 'button', class: 'small', onclick: () => this.acknowledge(key) }, 'Ack');
    row.append(row.chip, row.who, row.what, row.age, row.button);
    return row;
  }

  acknowledge(key) {
    this.alarms.acknowledge(key);
    this.show();
  }
}

function showActive(row, { source, priority, text, sinceUs, isAcknowledged, doubt }) {
  row.className = `alarm ${isAcknowledged ? 'is-seen' : 'is-open'} ${doubt ? 'is-doubted' : ''}`;
  row.chip.className = `chip ${priority}`;
  setText(row.chip, priority);
  setText(row.who, source);
  setText(row.what, doubt ? `${text} (${doubt})` : text);
  row.what.title = row.what.textContent;
  setText(row.age, span(Math.max(0, Date.now() - sinceUs / 1000) / 1000));
  row.age.title = `since ${clock(sinceUs / 1000)}`;
  row.button.disabled = isAcknowledged;
  setText(row.button, isAcknowledged ? 'seen' : 'Ack');
  setLabel(row.button, 'aria-label', `${row.button.textContent}: ${source}, ${text}`);
}

function pastRow({ timeUs, source, priority, text, isRaised }) {
  return element(
    'li',
    { class: `alarm past ${isRaised ? '' : 'is-seen'}` },
    element('span', { class: `chip ${isRaised ? priority : ''}` }, isRaised ? priority : 'ended'),
    element('span', { class: 'who' }, source),
    element('span', { class: 'what', title: text }, text),
    element('time', {}, clock(timeUs / 1000)),
  );
}
