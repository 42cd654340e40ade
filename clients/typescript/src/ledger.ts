// Job: which messages of which lane have come, are lost or were left out: nothing counted twice, nothing resumed wrong.
// Knows: epochs, numbers, `since` (PROTOCOL.md, sections 5.3, 7.5 and 12). Must never know: sockets, payloads, clocks.

import type { EpochChange, Gap, LaneAccount, Priority, Received } from './types.js';
import { PRIORITIES } from './types.js';

/** Topics whose numbers are kept, at most. */
export const TOPICS_MAX = 100_000;
/** Lanes of epochs that are over whose accounts are kept; older ones are forgotten. */
export const PAST_MAX = 1_000;

interface Lane {
  /** The number behind which counting began. */
  base: number;
  /** The last number taken, or told as lost: where a resume goes on. */
  seq: number;
  /** Up to here nothing comes any more: what `subscribed` said. */
  due: number;
  delivered: number;
  lost: number;
  leftOut: number;
  discarded: number;
  hasHoles: boolean;
  isLossUnknown: boolean;
}

interface Topic {
  epoch: number;
  lanes: Map<Priority, Lane>;
}

export type Since = Record<string, { epoch: number; seq: Partial<Record<Priority, number>> }>;

export class Ledger {
  readonly topics = new Map<string, Topic>();
  #past: LaneAccount[] = [];
  /** Accounts of lanes that were forgotten, for there were too many. */
  forgotten = 0;

  /**
   * Notes where a topic stands. `isOldest`: it was asked for what is older, so that what was before is told as a gap.
   * Returns what changed, `null` where nothing did, or `false` where there is no room for another topic.
   */
  onSubscribed(object: Received, isOldest: boolean): EpochChange | null | false {
    const name = object.topic as string;
    const epoch = object.epoch as number;
    const said = (object.seq ?? {}) as Partial<Record<Priority, number>>;
    const known = this.topics.get(name);
    if (!known && this.topics.size >= TOPICS_MAX) return false;
    const isAnew = known !== undefined && known.epoch !== epoch;
    if (isAnew) this.forget(name);
    const topic = this.topics.get(name) ?? { epoch, lanes: new Map<Priority, Lane>() };
    this.topics.set(name, topic);
    for (const priority of PRIORITIES) {
      const due = said[priority];
      if (typeof due !== 'number') continue;
      // A lane of a known epoch that is new was made since: it is asked for from its beginning.
      const lane = topic.lanes.get(priority) ?? newLane(topic, priority, isOldest || known === topic ? 0 : due);
      lane.due = due;
    }
    return isAnew ? { type: 'epoch', topic: name, before: known.epoch, after: epoch } : null;
  }

  /** Notes a message: its epoch if it is new, 0 if it is to be discarded. */
  onMessage(name: string, priority: Priority, seq: number): number {
    const topic = this.topics.get(name);
    if (!topic || !PRIORITIES.includes(priority) || !(seq > 0)) return 0;
    const lane = topic.lanes.get(priority) ?? newLane(topic, priority, 0);
    if (seq <= lane.seq || seq <= lane.due) {
      lane.discarded++;
      return 0;
    }
    lane.leftOut += seq - lane.seq - 1;
    lane.seq = seq;
    lane.delivered++;
    return topic.epoch;
  }

  /** Notes a gap: what of it was not known before, or `null`. */
  onGap(object: Received): Gap | null {
    const { topic: name, priority, from, to, reason } = object as unknown as Gap;
    const topic = this.topics.get(name);
    if (!topic || !PRIORITIES.includes(priority) || !(from > 0)) return null;
    const lane = topic.lanes.get(priority) ?? newLane(topic, priority, 0);
    if (!(to > lane.seq)) return null;
    const first = Math.max(from, lane.seq + 1);
    const numbers = to - first + 1;
    // Absent: one for each number; `null` is a value.
    const said = object.count as number | null | undefined;
    const count = said === undefined ? numbers : said === null ? null : Math.min(said, numbers);
    lane.leftOut += first - lane.seq - 1;
    lane.seq = to;
    lane.lost += count ?? 0;
    if (said !== undefined) lane.hasHoles = true;
    if (count === null) lane.isLossUnknown = true;
    return { type: 'gap', topic: name, priority, from: first, to, reason, count, epoch: topic.epoch };
  }

  /** A message that was delivered has been dropped by its reader's queue after all. */
  onDropped({ topic: name, epoch, priority }: { topic: string; epoch: number; priority: Priority }): void {
    const topic = this.topics.get(name);
    const lane = topic?.epoch === epoch ? topic.lanes.get(priority) : undefined;
    const past =
      lane ?? this.#past.findLast((one) => one.topic === name && one.epoch === epoch && one.priority === priority);
    if (!past) return;
    const counts = past as { delivered: number; lost: number | null };
    counts.delivered--;
    if (counts.lost !== null) counts.lost++;
  }

  /** Where to go on in a topic. */
  sinceOf(name: string): Since[string] | undefined {
    const topic = this.topics.get(name);
    if (!topic) return undefined;
    return {
      epoch: topic.epoch,
      seq: Object.fromEntries([...topic.lanes].map(([priority, { seq }]) => [priority, seq])),
    };
  }

  /** Ends a topic's numbering: its account is kept, its numbers are void. */
  forget(name: string): void {
    const topic = this.topics.get(name);
    if (!topic) return;
    this.#past.push(...accountsOf(name, topic));
    this.topics.delete(name);
    const over = this.#past.length - PAST_MAX;
    if (over <= 0) return;
    this.#past.splice(0, over);
    this.forgotten += over;
  }

  /** The account of every lane, those of former epochs first. */
  accounts(): LaneAccount[] {
    return [
      ...this.#past.map((one) => ({ ...one })),
      ...[...this.topics].flatMap(([name, topic]) => accountsOf(name, topic)),
    ];
  }
}

function newLane(topic: Topic, priority: Priority, base: number): Lane {
  const none = { delivered: 0, lost: 0, leftOut: 0, discarded: 0, hasHoles: false, isLossUnknown: false };
  const lane = { base, seq: base, due: base, ...none };
  topic.lanes.set(priority, lane);
  return lane;
}

function accountsOf(name: string, { epoch, lanes }: Topic): LaneAccount[] {
  return [...lanes]
    .filter(([, lane]) => lane.seq > lane.base || lane.discarded > 0)
    .map(([priority, { base, seq, delivered, lost, leftOut, discarded, hasHoles, isLossUnknown }]) => ({
      topic: name,
      epoch,
      priority,
      published: hasHoles ? null : seq - base,
      delivered,
      lost: isLossUnknown ? null : lost,
      leftOut: hasHoles ? null : leftOut,
      discarded,
    }));
}
