// What a page's own thread does while its Worker decodes 10,000 messages a second: from a trace of Chromium.
//
//     npm run build && node tests/trace.mjs [SECONDS]
//
// Prints the longest task of the page's main thread, and the part of the time in which it is busy. Not a test: figures
// are of one machine and hour.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import WebSocket from 'ws';
import { connect } from '../dist/index.js';
import { Server, until } from './server.mjs';

const seconds = Number(process.argv[2] ?? 10);
const RATE = 10_000;
const here = new URL('.', import.meta.url).pathname;
const server = await Server.start('--lane-bytes', '32MiB');
const bundle = async (options) =>
  (await build({ ...options, bundle: true, write: false, format: 'esm', minify: true })).outputFiles[0].text;
const files = {
  '/': '<!doctype html><canvas width="800" height="400"></canvas><script type="module" src="/page.js"></script>',
  '/worker.js': await bundle({ entryPoints: [join(here, '../dist/worker-thread.js')] }),
  '/page.js': await bundle({
    stdin: {
      resolveDir: here,
      contents: `import { connectInWorker } from '../dist/worker.js';
        const worker = new Worker('/worker.js', { type: 'module' });
        const series = [{ topics: 'trace/*', columns: { v: 'v' } }];
        const client = connectInWorker('${server.url}', { worker, series });
        const pen = document.querySelector('canvas').getContext('2d');
        const seen = { rows: 0, lost: 0 };
        client.eachFrame(([{ rows, gaps }]) => {
          pen.clearRect(0, 0, 800, 400);
          for (const { columns: { v } } of rows) {
            seen.rows += v.length;
            pen.beginPath();
            v.forEach((y, at) => pen.lineTo((at * 800) / v.length, y));
            pen.stroke();
          }
          for (const { count } of gaps) seen.lost += count;
        });
        setInterval(() => fetch('/', { method: 'POST', body: JSON.stringify(seen) }), 500);`,
    },
  }),
};
let seen = { rows: 0, lost: 0 };
const http = createServer((request, response) => {
  if (request.method === 'POST') {
    let text = '';
    request.on('data', (data) => (text += data)).on('end', () => (seen = JSON.parse(text)));
    return response.end();
  }
  response.writeHead(files[request.url] ? 200 : 404, {
    'content-type': request.url === '/' ? 'text/html' : 'text/javascript',
  });
  response.end(files[request.url]);
});
http.listen(0, '127.0.0.1');
await once(http, 'listening');

const scratch = mkdtempSync(join(tmpdir(), 'fanwire-trace-'));
const trace = join(scratch, 'trace.json');
const browser = spawn(
  process.env.CHROMIUM ?? 'chromium',
  [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--user-data-dir=${scratch}`,
    '--trace-startup=toplevel,__metadata',
    '--trace-startup-format=json',
    `--trace-startup-file=${trace}`,
    `--trace-startup-duration=${seconds + 5}`,
    '--remote-debugging-port=0',
    `http://127.0.0.1:${http.address().port}/`,
  ],
  { stdio: 'ignore' },
);
const publisher = connect(server.url, { WebSocket });
await publisher.ready;
const began = performance.now();
let published = 0;
let failed = 0;
while (performance.now() - began < (seconds + 3) * 1000) {
  const due = ((performance.now() - began) * RATE) / 1000;
  const burst = [];
  for (; published < due; published++)
    burst.push(publisher.publish('trace/x', { v: 200 + 150 * Math.sin(published / 500) }));
  for (const { status } of await Promise.allSettled(burst)) if (status === 'rejected') failed++;
  await new Promise((resolve) => setTimeout(resolve, 5));
}
await until(() => statSync(trace, { throwIfNoEntry: false })?.size > 0, 'the trace is written');
await new Promise((resolve) => setTimeout(resolve, 3000));
browser.kill('SIGKILL');
await once(browser, 'exit');

const { traceEvents } = JSON.parse(readFileSync(trace, 'utf8'));
const mains = traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain');
const tasks = (pid, tid) =>
  traceEvents.filter((one) => one.pid === pid && one.tid === tid && one.ph === 'X' && /RunTask$/.test(one.name));
const [main] = mains
  .map(({ pid, tid }) => tasks(pid, tid).sort((a, b) => a.ts - b.ts))
  .sort((a, b) => b.length - a.length);
// Without the first seconds, in which the page is loaded.
const begin = main[0].ts + 3e6;
const steady = main.filter(({ ts, dur }) => ts >= begin && ts + dur <= begin + seconds * 1e6);
const busyUs = steady.reduce((sum, { dur }) => sum + dur, 0);
const spanUs = steady.at(-1).ts - begin;
const longest = Math.max(...steady.map(({ dur }) => dur)) / 1000;
console.log(`published ${published}, refused ${failed}; drawn ${seen.rows}, lost ${seen.lost}`);
console.log(
  `main thread: ${steady.length} tasks, the longest ${longest.toFixed(1)} ms, ` +
    `busy ${((100 * busyUs) / spanUs).toFixed(1)} % of ${(spanUs / 1e6).toFixed(1)} s`,
);
publisher.close();
await server.kill();
http.close();
http.closeAllConnections();
rmSync(scratch, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
process.exit(0);
