// Job: topics as a tree of their levels, with sums at each branch.
// Knows: names. Must never know: where figures come from, elements.

/**
 * @typedef {object} Node
 * @property {string} path
 * @property {string} name the last level, or several where there is nothing to choose between
 * @property {number} depth
 * @property {object|null} topic the topic itself, where there is one of this name
 * @property {number} topics how many are below and here
 * @property {number} rate messages a second of all of them
 * @property {number} behind the worst of all of them
 * @property {boolean} isOpen
 */

/**
 * Rows of the tree, branches before what is below them.
 * @param {object[]} topics of `$sys/topics`
 * @param {Set<string>} closed paths whose rows below are not shown
 * @returns {Node[]}
 */
export function rowsOf(topics, closed) {
  const root = branch('', '');
  for (const topic of topics) {
    let at = root;
    let path = '';
    for (const level of topic.topic.split('/')) {
      path = path === '' ? level : `${path}/${level}`;
      if (!at.below.has(level)) at.below.set(level, branch(path, level));
      at = at.below.get(level);
    }
    at.topic = topic;
  }
  sum(root);
  const rows = [];
  for (const node of sorted(root)) visit(node, 0, closed, rows);
  return rows;
}

const branch = (path, name) => ({ path, name, topic: null, below: new Map(), topics: 0, rate: 0, behind: 0 });

function sum(node) {
  const { topic } = node;
  node.topics = topic ? 1 : 0;
  node.rate = topic?.published_per_s ?? 0;
  node.behind = (topic?.lanes ?? []).reduce((most, lane) => Math.max(most, lane.behind ?? 0), 0);
  for (const below of node.below.values()) {
    sum(below);
    node.topics += below.topics;
    node.rate += below.rate;
    node.behind = Math.max(node.behind, below.behind);
  }
}

const sorted = (node) => [...node.below.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));

function visit(node, depth, closed, rows) {
  let at = node;
  let { name } = node;
  // A chain without a choice is one row.
  while (at.topic === null && at.below.size === 1) {
    [at] = at.below.values();
    name = `${name}/${at.name}`;
  }
  const isOpen = at.below.size > 0 && !closed.has(at.path);
  const { path, topic, topics, rate, behind } = at;
  rows.push({ path, name, depth, topic, topics, rate, behind, isOpen, isBranch: at.below.size > 0 });
  if (isOpen) for (const below of sorted(at)) visit(below, depth + 1, closed, rows);
}
