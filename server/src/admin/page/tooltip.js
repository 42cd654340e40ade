// Job: the explanation of whatever is pointed at, has the focus or is touched.
// Knows: elements with `data-explain` or `data-says`. Must never know: figures.

import { element, setText } from '../../page/ui/dom.js';
import { EXPLAIN } from './explain.js';

const MARGIN = 8;

/** Makes all of the page explain itself; Escape hides what is shown. */
export function explainAll() {
  const tip = element('div', { class: 'tip', id: 'tip', role: 'tooltip', hidden: true });
  document.body.append(tip);
  let shown = null;
  const hide = () => {
    shown?.removeAttribute('aria-describedby');
    shown = null;
    tip.hidden = true;
  };
  const show = (target) => {
    const text = target.dataset.says ?? EXPLAIN[target.dataset.explain];
    if (!text) return;
    hide();
    shown = target;
    setText(tip, text);
    tip.hidden = false;
    target.setAttribute('aria-describedby', 'tip');
    const at = target.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const left = Math.min(Math.max(MARGIN, at.left), innerWidth - width - MARGIN);
    const isBelow = at.bottom + height + MARGIN < innerHeight;
    tip.style.left = `${Math.max(MARGIN, left)}px`;
    tip.style.top = `${isBelow ? at.bottom + 6 : Math.max(MARGIN, at.top - height - 6)}px`;
  };
  const ofEvent = (event) => event.target.closest?.('[data-explain], [data-says]');
  document.addEventListener('pointerover', (event) => {
    const target = ofEvent(event);
    if (target && event.pointerType !== 'touch') show(target);
    else if (!target && shown && !shown.contains(document.activeElement)) hide();
  });
  document.addEventListener('focusin', (event) => {
    const target = ofEvent(event);
    // A click also gives the focus: who works with the mouse has seen it already.
    if (target?.matches(':focus-visible')) show(target);
    else hide();
  });
  document.addEventListener('click', (event) => {
    const target = ofEvent(event);
    if (target && target !== shown && !target.closest('button')) show(target);
  });
  document.addEventListener('keydown', (event) => event.key === 'Escape' && hide());
  document.addEventListener('scroll', hide, { capture: true, passive: true });
}
