// Job: the card of the live tail: which topic, at which rate, held or running, its lines.
// Knows: the tail's lines. Must never know: sockets.

import { $, bytes, clockFine, count, element, keepRows, setText } from '../../page/ui/dom.js';

/** Lines seen at once: those kept beyond are for who scrolls. */
const SHOWN = 120;
export const RATES = { 1: 1, 5: 5, 20: 20, all: null };

export class TailView {
  /** @param {Tail} tail @param {Address} address */
  constructor(tail, address) {
    Object.assign(this, { tail, address });
    this.shown = -1;
    this.refusal = '';
    $('tail-form').addEventListener('submit', (event) => {
      event.preventDefault();
      address.set({ tail: $('tail-topic').value.trim() });
    });
    $('tail-rate').addEventListener('change', (event) => address.set({ rate: event.target.value }));
    $('tail-hold').addEventListener('click', () => this.hold(!tail.isHeld));
    $('tail-stop').addEventListener('click', () => address.set({ tail: '' }));
  }

  hold(isHeld) {
    this.tail.hold(isHeld);
    this.shown = -1;
    this.show();
  }

  /** Topics to choose from. */
  offer(names) {
    keepRows(
      $('tail-names'),
      names,
      (name) => name,
      (name) => element('option', { value: name }),
      () => {},
    );
  }

  begin(topic) {
    this.tail.clear();
    this.refusal = '';
    if (document.activeElement !== $('tail-topic')) $('tail-topic').value = topic;
    $('tail-rate').value = this.address.oneOf('rate', Object.keys(RATES));
    $('tail-stop').disabled = $('tail-hold').disabled = topic === '';
    this.show();
  }

  show() {
    const { tail } = this;
    const topic = this.address.get('tail');
    setText($('tail-hold'), tail.isHeld ? '▶ Run' : '❚❚ Hold');
    $('tail-hold').setAttribute('aria-pressed', String(tail.isHeld));
    const held = tail.isHeld ? ` · ${count(tail.heldBack)} since it is held` : '';
    const lost = tail.lost > 0 ? ` · ${count(tail.lost)} lost` : '';
    setText($('tail-count'), topic === '' ? '' : `${count(tail.count)} shown${lost}${held}`);
    $('tail-empty').hidden = tail.lines.length > 0;
    setText(
      $('tail-empty'),
      this.refusal || (topic === '' ? 'Choose a topic above, or in the tree' : `Nothing of ${topic} yet`),
    );
    if (this.shown === tail.revision) return;
    this.shown = tail.revision;
    keepRows(
      $('tail-lines'),
      tail.lines.slice(0, SHOWN),
      ({ key }) => key,
      lineRow,
      () => {},
    );
  }
}

function lineRow({ topic, priority, seq, timeMs, size, text, isGap }) {
  const row = element('li', { class: isGap ? 'is-gap' : '' });
  row.append(
    element(
      'div',
      { class: 'meta' },
      element('time', {}, clockFine(timeMs)),
      element('span', { class: `chip ${priority}` }, priority),
      element('span', { class: 'mono' }, topic),
      element('small', {}, isGap ? 'gap' : `#${seq} · ${bytes(size)}`),
    ),
    element('code', {}, text),
  );
  return row;
}
