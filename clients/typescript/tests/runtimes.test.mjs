// The package on Deno, Bun and in Chromium: every session, a conversation with the server, and a page with a Worker.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { binary, Server } from './server.mjs';

const isCi = process.env.CI === 'true';
const hasServer = binary() !== undefined;
const here = new URL('.', import.meta.url).pathname;
const SPOKEN = ['fanwire.json.v1', 'fanwire.msgpack.v1', 'fanwire.batch.v1', 'fanwire.batch.v1+lz4'];
const folder = join(here, '../../conformance');
const sessions = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
/** After so long a runtime hangs, in milliseconds. */
const PATIENCE_MS = 180_000;
let server;

before(async () => {
  if (hasServer) server = await Server.start('--publish', 'everyone');
});
after(() => server?.kill());

const why = (isThere, what) =>
  isCi || (hasServer && isThere) ? false : hasServer ? `${what} is missing` : 'there is no binary of the server';

for (const [name, options] of [
  ['deno', ['run', '--allow-all', '--no-lock', '--quiet']],
  ['bun', []],
]) {
  const bun = `runtimes/node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : process.arch}`;
  const found = [
    `runtimes/node_modules/@deno/linux-${process.arch}-glibc/deno`,
    `${bun}/bin/bun`,
    `${bun}-baseline/bin/bun`,
  ]
    .map((path) => join(here, path))
    .find((path) => path.endsWith(name) && existsSync(path));
  test(
    `${name} runs every session, and talks to the server`,
    { skip: why(found, name), timeout: PATIENCE_MS },
    async () => {
      const { stdout } = await promisify(execFile)(found, [
        ...options,
        join(here, 'runtimes/run.mjs'),
        server.url,
        name,
      ]);
      assert.deepEqual(JSON.parse(stdout), { sessions: sessions.length, spoken: SPOKEN });
    },
  );
}

const chromium = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path && existsSync(path),
);

/** A page that runs a script, and what the script has posted. */
async function page(context, files) {
  let said;
  const posted = new Promise((resolve) => (said = resolve));
  const http = createServer((request, response) => {
    if (request.method === 'POST') {
      let text = '';
      request.on('data', (data) => (text += data)).on('end', () => said(JSON.parse(text)));
      return response.end();
    }
    const body =
      request.url === '/' ? '<!doctype html><script type="module" src="/page.js"></script>' : files[request.url];
    response.writeHead(body === undefined ? 404 : 200, {
      'content-type': request.url === '/' ? 'text/html' : 'text/javascript',
    });
    response.end(body);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const profile = mkdtempSync(join(tmpdir(), 'fanwire-chromium-'));
  const browser = spawn(
    chromium,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      `--user-data-dir=${profile}`,
      '--remote-debugging-port=0',
      `http://127.0.0.1:${http.address().port}/`,
    ],
    { stdio: 'ignore' },
  );
  const ended = once(browser, 'exit');
  context.after(async () => {
    browser.kill('SIGKILL');
    await ended;
    http.close();
    http.closeAllConnections();
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
  return Promise.race([posted, ended.then(() => assert.fail('the browser has ended'))]);
}

/** Modules for a page, by address. */
async function modules(entries, contents) {
  const { outputFiles } = await build({
    ...(contents ? { stdin: { contents, resolveDir: here } } : { entryPoints: entries }),
    bundle: true,
    write: false,
    format: 'esm',
    alias: { 'node:assert/strict': join(here, 'assert.mjs') },
  });
  return outputFiles[0].text;
}

const report = `.then((value) => ({ value }), (error) => ({ error: String(error?.stack ?? error) }))
  .then((said) => fetch('/', { method: 'POST', body: JSON.stringify(said) }));`;

test(
  'Chromium runs every session, and talks to the server',
  { skip: why(chromium, 'chromium'), timeout: PATIENCE_MS },
  async (context) => {
    const script = await modules(
      [],
      `import { converse, runSessions } from './everywhere.mjs';
    const sessions = ${JSON.stringify(sessions)};
    const talk = () => converse('${server.url}', 'chromium');
    (async () => ({ sessions: runSessions(sessions), spoken: await talk() }))()${report}`,
    );
    const { value, error } = await page(context, { '/page.js': script });
    assert.equal(error, undefined);
    assert.deepEqual(value, { sessions: sessions.length, spoken: SPOKEN });
  },
);

test(
  'a page draws columns that a Worker has decoded',
  { skip: why(chromium, 'chromium'), timeout: PATIENCE_MS },
  async (context) => {
    const script = await modules(
      [],
      `import { connect } from '../dist/index.js';
    import { connectInWorker } from '../dist/worker.js';
    (async () => {
      const worker = new Worker('/worker.js', { type: 'module' });
      const series = [{ topics: 'page/*', columns: { v: 'v' } }];
      const client = connectInWorker('${server.url}', { worker, series });
      const publisher = connect('${server.url}');
      const seen = { rows: 0, sum: 0, lost: 0, inOrder: true };
      const all = new Promise((resolve) => {
        let last = 0;
        client.eachFrame(([{ rows, gaps }]) => {
          for (const { seq, columns } of rows)
            seq.forEach((one, at) => {
              seen.inOrder &&= one > last;
              last = one;
              seen.rows++;
              seen.sum += columns.v[at];
            });
          seen.lost += gaps.length;
          if (seen.rows >= 5000) resolve();
        });
      });
      await publisher.ready;
      await client.fetch();
      while (client.state.name !== 'open') await new Promise((next) => setTimeout(next, 5));
      const hundred = (n) => Array.from({ length: 100 }, (_, at) => publisher.publish('page/x', { v: n + at }));
      for (let n = 0; n < 5000; n += 100) await Promise.all(hundred(n));
      await all;
      const { lanes } = (await client.fetch(), client.stats);
      return { ...seen, protocol: client.state.protocol, delivered: lanes[0].delivered };
    })()${report}`,
    );
    const files = { '/page.js': script, '/worker.js': await modules([join(here, '../dist/worker-thread.js')]) };
    const { value, error } = await page(context, files);
    assert.equal(error, undefined);
    const sum = (5000 * 4999) / 2;
    assert.deepEqual(value, {
      rows: 5000,
      sum,
      lost: 0,
      inOrder: true,
      protocol: 'fanwire.batch.v1+lz4',
      delivered: 5000,
    });
  },
);
