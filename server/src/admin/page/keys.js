// Job: what keys do.
// Knows: elements by name. Must never know: figures.

import { $ } from '../../page/ui/dom.js';

/** @param {Object<string, () => void>} does by key; keys that are typed into fields do nothing else. */
export function listen(does) {
  document.addEventListener('keydown', (event) => {
    // A dialog has its own keys.
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    if (!Object.hasOwn(does, event.key)) return;
    event.preventDefault();
    does[event.key]();
  });
  $('help-open').addEventListener('click', () => $('help').showModal());
}
