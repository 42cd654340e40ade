// The package as npm gets it: what is in it, whether every way of importing it finds its types, what it depends on.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

const root = new URL('..', import.meta.url).pathname;
const tool = (name) => join(root, 'node_modules/.bin', name);
const scratch = mkdtempSync(join(tmpdir(), 'fanwire-package-'));
after(() => rmSync(scratch, { recursive: true }));
const run = (command, ...options) => {
  const { status, stdout, stderr } = spawnSync(command, options, { cwd: root, encoding: 'utf8' });
  return { status, text: `${stdout}${stderr}` };
};

const packed = JSON.parse(
  execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }),
);
const [{ filename, files }] = Object.values(packed);
const archive = join(scratch, filename);

test('it holds what is built, and no test, source or tool', () => {
  const paths = files.map(({ path }) => path);
  for (const path of [
    'package.json',
    'README.md',
    'LICENSE',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/worker-thread.js',
  ])
    assert.ok(paths.includes(path), `${path} is missing`);
  const foreign = paths.filter(
    (path) => !/^(dist\/[a-z0-9-]+\.(js|d\.ts)|package\.json|README\.md|LICENSE)$/.test(path),
  );
  assert.deepEqual(foreign, []);
});

test('it depends on nothing at run time', () => {
  const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
    readFileSync(join(root, 'package.json')),
  );
  assert.equal(dependencies, undefined);
  assert.deepEqual(Object.keys(peerDependencies), ['react']);
  assert.ok(peerDependenciesMeta.react.optional);
  for (const { path } of files.filter((file) => file.path.endsWith('.js') && !file.path.endsWith('react.js')))
    assert.doesNotMatch(readFileSync(join(root, path), 'utf8'), /^(import|export) .* from '[^.]/m, path);
});

test('the lock file names no registry', () => {
  assert.doesNotMatch(readFileSync(join(root, 'package-lock.json'), 'utf8'), /"resolved"/);
});

test('publint finds nothing', () => {
  const { status, text } = run(tool('publint'), 'run', archive, '--strict', '--pack', 'false');
  assert.ok(status === 0 && !/warning|error|suggestion/i.test(text.replace(/Running.*\n/, '')), text);
});

test('attw finds the types of every entry point, for those who import modules', () => {
  const { status, text } = run(tool('attw'), archive, '--profile', 'esm-only', '--no-color', '--no-emoji');
  assert.equal(status, 0, text);
});

test('types are strict, and wrong use does not compile', () => {
  const program = (body) => `import { connect } from 'fanwire';
import { batch } from 'fanwire/batch';
import { msgpack } from 'fanwire/msgpack';
import { connectInWorker } from 'fanwire/worker';
import { OptimizedTelemetryClient } from 'fanwire/telemetry';
import { useTopic } from 'fanwire/react';
import type { Message } from 'fanwire';
async function main(): Promise<void> {
  const client = connect('wss://a/', { batch, msgpack, maxHz: 5, token: async () => 'x' });
  ${body}
}
void [main, connectInWorker, OptimizedTelemetryClient, useTopic];
`;
  const compiles = (body) => {
    const path = join(root, 'tests', `types-${process.pid}.ts`);
    writeFileSync(path, program(body));
    const strict = ['--ignoreConfig', '--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2023'];
    const { status, text } = run(
      tool('tsc'),
      ...strict,
      '--lib',
      'es2023,esnext.disposable,dom',
      '--module',
      'nodenext',
      '--types',
      '',
      path,
    );
    rmSync(path);
    return { isFine: status === 0, text };
  };
  const right = compiles(`for await (const one of client.subscribe('a/*', { from: 'oldest' })) {
    if (one.type === 'message') { const m: Message = one; void [m.seq, m.data]; }
    else if (one.type === 'gap') { const n: number | null = one.count; void n; }
    else if (one.type === 'epoch') void one.after;
    else void one.code;
  }
  const worker = connectInWorker('wss://a/', { series: [{ topics: 'a', columns: { ax: 'ax' } }] });
  const [fetched] = await worker.fetch();
  const column: Float64Array | undefined = fetched?.rows[0]?.columns['ax'];
  void column;`);
  assert.ok(right.isFine, right.text);
  for (const wrong of [
    'client.subscribe(5);',
    "client.publish('a', 1, { priority: 'urgent' });",
    "connect('a', { protocol: 'xml' });",
    "for await (const one of client.subscribe('a')) void one.seq;",
  ])
    assert.ok(!compiles(wrong).isFine, wrong);
});
