// What each entry point adds to a page, minified and gzipped.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const KB = 1000;
/** Bytes of an entry point, without what the entry points that it stands on have. */
async function size(entry, without = []) {
  const bytes = async (contents) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: new URL('../dist', import.meta.url).pathname },
      bundle: true,
      minify: true,
      write: false,
      format: 'esm',
      target: 'es2022',
      external: ['react'],
    });
    return gzipSync(outputFiles[0].contents, { level: 9 }).length;
  };
  const all = [entry, ...without].map((name) => `export * as ${name.replace('-', '_')} from './${name}.js';`);
  const base = all.slice(1);
  return (await bytes(all.join('\n'))) - (base.length ? await bytes(base.join('\n')) : 0);
}

const budget = [
  ['index', [], 9.4],
  ['batch', ['index'], 3],
  ['msgpack', ['index'], 3],
  ['dictionary', [], 3],
  ['worker', ['index'], 3],
  ['worker-thread', ['index', 'batch'], 3],
  ['react', ['index'], 1],
  ['telemetry', ['index', 'batch'], 1],
];
for (const [entry, without, kb] of budget)
  test(`${entry} is at most ${kb} kB`, async (context) => {
    const bytes = await size(entry, without);
    context.diagnostic(`${entry}: ${bytes} bytes`);
    assert.ok(bytes > 0 && bytes <= kb * KB, `${bytes} bytes`);
  });

test('what is not used is not bundled', async () => {
  const { outputFiles } = await build({
    stdin: {
      contents: "import { FanwireError } from 'fanwire'; console.log(FanwireError)",
      resolveDir: new URL('.', import.meta.url).pathname,
    },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
  });
  const { length } = outputFiles[0].contents;
  assert.ok(length < 400, `${length} bytes of ${outputFiles[0].text}`);
});
