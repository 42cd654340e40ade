// What others call themselves moves nothing on a page: no name turns a line round, or hides a part of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync, readdirSync } from 'node:fs';

import { element, plain, setLabel, setText, svg } from '../../src/page/ui/dom.js';

/** A node that remembers what it was given. */
class Node {
  constructor() {
    this.attributes = {};
    this.children = [];
    this.textContent = '';
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  append(...children) {
    this.children.push(...children);
  }
}

globalThis.document = { createElement: () => new Node(), createElementNS: () => new Node() };

const TURNS = [0x61c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069];
const CONTROLS = [0, 7, 8, 0x0d, 0x1b, 0x7f, 0x85, 0x9b, 0x2028, 0x2029];

test('marks of direction and control characters are shown as escapes, and nothing else is', () => {
  for (const code of [...TURNS, ...CONTROLS]) {
    const c = String.fromCodePoint(code);
    assert.equal(plain(`a${c}b${c}`), `a\\u{${code.toString(16)}}b\\u{${code.toString(16)}}`);
  }
  for (const kept of ['', 'rover/1/imu', 'Straße 🚀 עברית العربية', 'one\n\ttwo', '👩‍🚀']) assert.equal(plain(kept), kept);
  assert.equal(plain(7), '7');
});

test('every way to show text goes through that', () => {
  const evil = 'a\u202eb';
  const shown = 'a\\u{202e}b';
  const inner = new Node();
  const made = element('b', { title: evil, 'aria-label': evil, value: evil }, evil, inner, null, 5);
  assert.deepEqual(made.attributes, { title: shown, 'aria-label': shown, value: evil });
  assert.deepEqual(made.children, [shown, inner, '5']);
  assert.deepEqual(svg('text', {}, evil, inner).children, [shown, inner]);
  const node = new Node();
  setText(node, evil);
  setLabel(node, 'title', evil);
  assert.deepEqual([node.textContent, node.attributes.title], [shown, shown]);
});

test('no page has a way of its own', () => {
  const folders = ['../../src/admin/page/', '../../src/demo/page/', '../../src/page/ui/'];
  for (const folder of folders.map((name) => new URL(name, import.meta.url))) {
    for (const name of readdirSync(folder).filter((name) => name.endsWith('.js') && name !== 'dom.js')) {
      const text = readFileSync(new URL(name, folder), 'utf8');
      assert.doesNotMatch(text, /innerHTML|insertAdjacentHTML|createTextNode|document\.write/, name);
      // A template that becomes a text of the page: what is put into it is a figure, or has gone through `plain`.
      for (const [line] of text.matchAll(/^.*\.(textContent|title) = .*(topic|label|name|path|\.id\b|source).*$/gm))
        assert.match(line, /plain\(|theme/, `${name}: ${line}`);
    }
  }
});
