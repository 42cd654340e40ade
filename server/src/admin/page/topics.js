// Job: the tree of topics with rates, their last minutes and their last values.
// Knows: rows of tree.js. Must never know: sockets.

import { spark } from '../../page/ui/canvas.js';
import { $, bytes, count, element, keepRows, percent, rate, setLabel, setText } from '../../page/ui/dom.js';
import { textOf } from './tail.js';
import { rowsOf } from './tree.js';

/** Rows at once: a server names at most so many topics. */
const ROWS_MAX = 200;
const VALUE_CHARACTERS = 160;

export class Topics {
  /** @param {{onFollow: (topic) => void, onFold: (path) => void}} options */
  constructor({ onFollow, onFold }) {
    Object.assign(this, { onFollow, onFold });
    /** @type {Map<string, string>} */
    this.values = new Map();
    this.seen = [];
  }

  takeValue({ topic, kind, data }) {
    if (this.values.has(topic) || this.seen.includes(topic))
      this.values.set(topic, textOf(kind, data).slice(0, VALUE_CHARACTERS));
  }

  show(topics, trails, { closed, followed, words }) {
    const meant = topics.filter(({ topic }) => topic.toLowerCase().includes(words.toLowerCase()));
    const rows = rowsOf(meant, closed).slice(0, ROWS_MAX);
    this.seen = rows.filter(({ topic }) => topic !== null).map(({ path }) => path);
    for (const topic of this.values.keys()) if (!this.seen.includes(topic)) this.values.delete(topic);
    keepRows(
      $('topics'),
      rows,
      ({ path }) => path,
      () => this.make(),
      (row, node) => this.update(row, node, trails, followed),
    );
    $('topics-empty').hidden = rows.length > 0;
  }

  make() {
    const row = element('tr');
    row.fold = element('button', { type: 'button', class: 'fold', onclick: () => this.onFold(row.node.path) });
    row.name = element('button', {
      type: 'button',
      class: 'plain mono',
      onclick: () => this.onFollow(followedBy(row.node)),
    });
    row.canvas = element('canvas', { 'aria-hidden': 'true' });
    row.parts = ['rate', 'rate', 'subscribers', 'lanes'].map((explain) => element('td', { 'data-explain': explain }));
    row.value = element('td', { class: 'left last mono' });
    row.append(
      element('td', { class: 'name' }, element('span', { class: 'indent' }, row.fold, row.name)),
      element('td', { class: 'trail', 'data-explain': 'rate' }, row.canvas),
      ...row.parts,
      row.value,
    );
    row.indent = row.querySelector('.indent');
    return row;
  }

  update(row, node, trails, followed) {
    const { path, name, depth, topic, topics, isBranch, isOpen } = node;
    row.node = node;
    row.indent.style.paddingLeft = `${depth * 14}px`;
    row.fold.hidden = !isBranch;
    setText(row.fold, isOpen ? '▾' : '▸');
    row.fold.setAttribute('aria-expanded', String(isOpen));
    setLabel(row.fold, 'aria-label', `${isOpen ? 'Fold' : 'Unfold'} ${path}`);
    setText(row.name, name);
    setLabel(row.name, 'title', `Follow ${followedBy(node)}`);
    row.classList.toggle('is-branch', topic === null);
    row.setAttribute('aria-selected', String(followed === followedBy(node)));
    const [perSecond, size, subscribers, behind] = row.parts;
    setText(perSecond, rate(node.rate));
    setText(size, topic ? `${bytes(topic.bytes_per_s ?? 0)}/s` : `${topics} topics`);
    setText(subscribers, topic ? count(topic.subscribers ?? 0) : '');
    setText(behind, node.behind > 0 ? percent(node.behind) : '–');
    behind.className = node.behind >= 0.9 ? 'is-lost' : node.behind >= 0.7 ? 'is-warned' : '';
    setText(row.value, topic ? (this.values.get(path) ?? '') : '');
    row.value.title = row.value.textContent;
    const values = trails.get(path)?.trail.list ?? [];
    row.canvas.hidden = values.length < 2;
    if (values.length >= 2) spark(row.canvas, values, 'accent');
  }
}

/** What is followed where this row is chosen: the topic, or all below the branch. */
const followedBy = ({ path, topic }) => (topic ? path : `${path}/**`);
