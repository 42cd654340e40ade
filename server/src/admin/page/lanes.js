// Job: the bars of lanes, those whose slowest subscriber is furthest behind first.
// Knows: lanes of `$sys/topics`. Must never know: sockets.

import { $, bytes, element, keepRows, percent, setLabel, setText } from '../../page/ui/dom.js';
import { setBar } from './charts.js';
import { barWithMarks } from './clients.js';

const SHOWN = 12;

/** @param {object[]} lanes @param {{words: string, onFollow: (topic) => void}} options */
export function showLanes(lanes, { words, onFollow }) {
  const meant = lanes.filter(({ topic }) => topic.toLowerCase().includes(words.toLowerCase()));
  const make = () => {
    const row = element('li', { class: 'lane-row' });
    row.chip = element('span', { class: 'chip' });
    row.follow = element('button', { type: 'button', class: 'plain mono', onclick: () => onFollow(row.topic) });
    row.bar = barWithMarks('lanes');
    row.text = element('small', { 'data-explain': 'kept' });
    row.append(row.chip, row.follow, row.bar, row.text);
    return row;
  };
  const show = (row, { topic, priority, behind, bytes: kept, capacity_bytes: capacity }) => {
    row.topic = topic;
    row.chip.className = `chip ${priority}`;
    setText(row.chip, priority);
    setText(row.follow, topic);
    setLabel(row.follow, 'title', `Follow ${topic}`);
    setBar(row.bar, behind ?? 0);
    row.bar.setAttribute('aria-label', `the slowest subscriber is ${percent(behind ?? 0)} behind`);
    setText(row.text, `${percent(behind ?? 0)} · keeps ${bytes(kept ?? 0)} of ${bytes(capacity ?? 0)}`);
  };
  keepRows($('lanes'), meant.slice(0, SHOWN), ({ topic, priority }) => `${topic} ${priority}`, make, show);
  $('lanes-empty').hidden = meant.length > 0;
  setText($('lanes-count'), meant.length > SHOWN ? `the worst ${SHOWN} of ${meant.length}` : '');
}
