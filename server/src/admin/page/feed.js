// Job: what comes from the server: the `$sys` topics, the tail of a chosen topic, last values of topics that are seen.
// Knows: which connection carries what. Must never know: what is shown.

import { Client } from '../../page/client/client.js';

const SYS = ['$sys/shards', '$sys/topics', '$sys/clients', '$sys/gaps'];
/** Last values of so many topics, once a second each. */
const VALUES_MAX = 64;

export class Feed {
  /** @param {object} on `sys`, `state`, `welcome`, `refused`, `tail`, `tailGap`, `tailRefused`, `value` */
  constructor({ url, on, world }) {
    Object.assign(this, { url, on, world });
    this.sys = new Client({
      url,
      world,
      topics: SYS,
      on: {
        message: ({ topic, data }) => on.sys(topic, data),
        state: on.state,
        welcome: on.welcome,
        refused: on.refused,
      },
    });
    this.tail = null;
    this.values = null;
  }

  /** Follows a name or pattern, at most so many messages a second and lane; `''` follows nothing. */
  follow(topic, perSecond) {
    this.tail?.close();
    this.tail = null;
    if (topic === '') return;
    const { on, url, world } = this;
    this.tail = new Client({
      url,
      world,
      topics: [topic],
      more: perSecond === null ? {} : { max_hz: perSecond },
      on: { message: on.tail, gap: on.tailGap, refused: on.tailRefused },
    });
  }

  /** Wants the last values of these. A connection of its own: a topic comes at one rate on a connection. */
  want(topics) {
    const wanted = topics.slice(0, VALUES_MAX);
    if (this.values) return this.values.retarget(wanted);
    const { on, url, world } = this;
    if (wanted.length > 0)
      this.values = new Client({ url, world, topics: wanted, more: { max_hz: 1 }, on: { message: on.value } });
  }

  open() {
    this.sys.open();
    this.tail?.open();
    this.values?.open();
  }
}
