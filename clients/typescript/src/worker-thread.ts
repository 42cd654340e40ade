// Job: what runs in the Worker: a client whose messages become columns, handed over when they are asked for.
// Knows: the client, rings, the messages of `worker.ts`. Must never know: pages.

import { batch } from './batch.js';
import { connect } from './index.js';
import type { Client, ConnectOptions } from './index.js';
import { Rings } from './rings.js';
import type { FromWorker, Port, ToWorker } from './worker.js';

/** Serves whoever is at the other end. `more`: what cannot come as a message, such as a `WebSocket`. */
export function serve(port: Port, more: Pick<ConnectOptions, 'WebSocket'> = {}): void {
  const say = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
  const tokens: ((token: string | null) => void)[] = [];
  let client: Client | undefined;
  let series: Rings[] = [];

  const token = (): Promise<string> =>
    new Promise((resolve, reject) => {
      tokens.push((text) => (text === null ? reject(new Error('refused')) : resolve(text)));
      say({ ask: 'token' });
    });

  const open = ({ url, options, asksToken, series: wanted }: Extract<ToWorker, { do: 'open' }>): void => {
    client = connect(url, { ...options, ...more, batch, ...(asksToken && { token }) });
    client.onState((state) => say({ state }));
    series = wanted.map(({ topics, columns, capacity, ...rest }) => {
      const rings = new Rings(columns, capacity);
      client!.subscribe(topics, {
        ...rest,
        onMessage: (message) => rings.push(message),
        onGap: (gap) => rings.onGap(gap),
        onRefused: (refused) => say({ refused }),
        onEnd: (error) => error && say({ refused: { type: 'refused', code: error.code, message: error.message } }),
      });
      return rings;
    });
  };

  const drain = (id: number): void => {
    const drained = series.map((rings) => rings.drain());
    const buffers = drained.flatMap(({ rows }) =>
      rows.flatMap(({ seq, timeMs, columns }) =>
        [seq, timeMs, ...Object.values(columns)].map(({ buffer }) => buffer),
      ),
    );
    say({ drained: id, series: drained, stats: client?.stats() ?? null }, buffers);
  };

  port.onmessage = ({ data }: { data: ToWorker }) => {
    try {
      if (data.do === 'open') open(data);
      else if (data.do === 'drain') drain(data.id);
      else if (data.do === 'token') tokens.shift()?.(data.token);
      else client?.close();
    } catch (error) {
      say({ failed: String((error as Error).message ?? error) });
    }
  };
}

// Within a Worker, not where this is only imported.
const scope = globalThis as { WorkerGlobalScope?: new () => unknown } & Partial<Port>;
if (scope.WorkerGlobalScope !== undefined && globalThis instanceof scope.WorkerGlobalScope) serve(scope as Port);
