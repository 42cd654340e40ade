// Job: a `fanwire serve` for one test file, on a free port of the loopback interface.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** The binary: FANWIRE_BINARY, else what cargo has built. `undefined`: there is none. */
export function binary() {
  const root = new URL('../../../', import.meta.url).pathname;
  const target = process.env.CARGO_TARGET_DIR ?? `${root}target`;
  return [process.env.FANWIRE_BINARY, `${target}/debug/fanwire`, `${target}/release/fanwire`].find(
    (one) => one && existsSync(one),
  );
}

export class Server {
  static async start(...options) {
    const server = new Server();
    await server.#run(['--listen', '127.0.0.1:0', ...options]);
    return server;
  }

  async #run(options) {
    const who = options.includes('--publish') ? [] : ['--publish', 'loopback'];
    const always = ['serve', '--cpus', 'none', '--shards', '1', ...who, ...options];
    this.options = options;
    this.process = spawn(binary(), always, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = once(this.process, 'exit');
    this.log = '';
    const found = new Promise((resolve, reject) => {
      for (const stream of [this.process.stdout, this.process.stderr])
        createInterface({ input: stream }).on('line', (line) => {
          this.log += `${line}\n`;
          const port = /ws:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
          if (port) resolve(Number(port));
        });
      this.process.once('exit', () => reject(new Error(`the server did not start:\n${this.log}`)));
    });
    this.port = await found;
    this.url = `ws://127.0.0.1:${this.port}/`;
  }

  /** Ends it as a crash does. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async stop() {
    this.process.kill('SIGTERM');
    await this.ended;
  }

  /** Starts it anew on the port that it had. */
  async again() {
    const at = this.options.indexOf('--listen');
    await this.#run(this.options.with(at + 1, `127.0.0.1:${this.port}`));
  }
}

/** Waits until something holds, patiently. */
export async function until(holds, what) {
  const end = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
