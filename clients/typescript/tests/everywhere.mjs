// Job: what is to work on every platform, with nothing of Node: all sessions, and a conversation with a real server.

import { batch } from '../dist/batch.js';
import { connect } from '../dist/index.js';
import { msgpack } from '../dist/msgpack.js';
import { Runner } from './runner.mjs';

/** Runs every session. Throws with the first that fails; returns how many there were. */
export function runSessions(sessions) {
  for (const session of sessions) {
    try {
      new Runner(session, 0.5).run();
    } catch (error) {
      throw new Error(`${session.name}: ${error.message}`);
    }
  }
  return sessions.length;
}

/** Publishes and reads back, in every subprotocol. Throws where something is not as it was published. */
export async function converse(url, name) {
  const kinds = { json: {}, msgpack: { msgpack }, batch: { batch, compression: 'none' }, lz4: { batch } };
  const spoken = [];
  for (const [kind, options] of Object.entries(kinds)) {
    const client = connect(url, options);
    const topic = `everywhere/${name}/${kind}`;
    const subscription = client.subscribe(topic);
    const sent = [{ n: 1.5, text: 'größer' }, new Uint8Array([0, 128, 255]), 'x'.repeat(2000)];
    await client.ready;
    await Promise.all(sent.map((data) => client.publish(topic, data)));
    for (const data of sent) {
      const { value } = await subscription.next();
      const [got, want] = [value.data, data].map((one) => JSON.stringify(one instanceof Uint8Array ? [...one] : one));
      if (got !== want) throw new Error(`${kind}: ${got} instead of ${want}`);
    }
    if (!((await client.ping()) >= 0)) throw new Error('no round trip');
    const [lane] = client.stats().lanes;
    if (lane.delivered !== 3 || lane.published !== 3) throw new Error(JSON.stringify(lane));
    spoken.push(client.state.protocol);
    client.close();
    if (client.state.name !== 'ended') throw new Error('it has not ended');
  }
  return spoken;
}
