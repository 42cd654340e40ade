// Job: which messages of which lane have come or are lost, so that nothing is counted twice and a resume loses nothing.
// Knows: epochs, sequence numbers, `since` (PROTOCOL.md, sections 5.3, 7.5 and 12). Must never know: sockets, payloads.

/**
 * Topics whose numbers are kept. One request can name so many with their `since`; of more, nothing is counted exactly.
 */
export const TOPICS_MAX = 2000;

export class Ledger {
  constructor() {
    /** @type {Map<string, {epoch: number, seq: Object<string, number>, due: Object<string, number>}>} */
    this.topics = new Map();
    this.isResumed = false;
    /** Topics that there was no room for. */
    this.untracked = 0;
  }

  /**
   * The connection was lost: from the next `subscribed` on, topics that are not known are new and come from the oldest.
   */
  resume() {
    this.isResumed = this.topics.size > 0;
  }

  /** Where to go on, or `undefined` where everything begins. */
  get since() {
    if (this.topics.size === 0) return undefined;
    const since = {};
    for (const [name, { epoch, seq }] of this.topics) since[name] = { epoch, seq };
    return since;
  }

  /** Notes where a topic stands. `anew`: its numbering began again, so what was published meanwhile may be missing. */
  onSubscribed({ topic, epoch, seq }) {
    const known = this.topics.get(topic);
    if (!known) {
      if (this.topics.size >= TOPICS_MAX) {
        this.untracked++;
        return { isTracked: false, isAnew: false };
      }
      // After a resume what lies before comes as a gap, and counts as neither come nor lost until then.
      this.topics.set(topic, { epoch, seq: this.isResumed ? {} : { ...seq }, due: { ...seq } });
      return { isTracked: true, isAnew: false };
    }
    known.due = { ...seq };
    const isAnew = known.epoch !== epoch;
    if (isAnew) {
      known.epoch = epoch;
      known.seq = {};
    }
    return { isTracked: true, isAnew };
  }

  /**
   * Notes a message. `isNew` is false where it had come before, or is not due: it is to be discarded. `omitted` counts
   * those before it that neither came nor were announced as lost: somebody asked for that (`max_hz`, `latest`,
   * `ttl_ms`, `echo`).
   */
  onMessage({ topic, priority, seq }) {
    const known = this.topics.get(topic);
    if (!known) return { isNew: true, omitted: 0 };
    const last = known.seq[priority] ?? known.due[priority] ?? 0;
    if (seq <= last || seq <= (known.due[priority] ?? 0)) return { isNew: false, omitted: 0 };
    known.seq[priority] = seq;
    return { isNew: true, omitted: seq - last - 1 };
  }

  /** Notes a gap: how many messages it says are lost that were not counted yet. */
  onGap({ topic, priority, from, to }) {
    const known = this.topics.get(topic);
    if (!known) return Math.max(0, to - from + 1);
    const last = known.seq[priority] ?? 0;
    const lost = Math.max(0, to - Math.max(from, last + 1) + 1);
    if (to > last) known.seq[priority] = to;
    return lost;
  }
}
