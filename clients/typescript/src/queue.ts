// Job: what waits for one reader, never more than its maximum; what is least important is dropped, and told as a gap.
// Knows: deliveries. Must never know: sockets, promises, clocks.

import type { Delivery, Gap, Message, Priority } from './types.js';
import { PRIORITIES } from './types.js';

/** Entries in the order in which they came, by priority: those of no priority (`epoch`, `refused`) stay. */
const LANES = 5;

export class Queue {
  readonly #max: number;
  readonly #onDropped: (message: Message) => void;
  /** By priority, the last for what has none; each in the order of arrival. */
  readonly #parts = Array.from({ length: LANES }, () => new Fifo());
  /** Local gaps that were not told yet, by lane. */
  readonly #gaps = new Map<string, Gap>();
  #arrivals = 0;
  #size = 0;
  /** Messages dropped. */
  dropped = 0;

  /** @param max entries that wait, at most */
  constructor(max: number, onDropped: (message: Message) => void) {
    this.#max = max;
    this.#onDropped = onDropped;
  }

  get size(): number {
    return this.#size + this.#gaps.size;
  }

  /** Takes one more. `false`: there is no room, and nothing less important than `critical` to drop. */
  push(delivery: Delivery): boolean {
    const part = 'priority' in delivery ? PRIORITIES.indexOf(delivery.priority) : LANES - 1;
    this.#parts[part]!.push({ at: this.#arrivals++, delivery });
    this.#size++;
    return this.#size <= this.#max || this.#drop();
  }

  /** The next one, in the order of arrival; a local gap before the next of its lane. */
  shift(): Delivery | undefined {
    let first: Fifo | undefined;
    for (const part of this.#parts) if (part.head && (!first?.head || part.head.at < first.head.at)) first = part;
    const next = first?.head?.delivery;
    const lane = next && 'priority' in next ? laneOf(next) : undefined;
    const key = next === undefined ? this.#gaps.keys().next().value : lane;
    const gap = key === undefined ? undefined : this.#gaps.get(key);
    if (gap) {
      this.#gaps.delete(key!);
      return gap;
    }
    if (first === undefined) return undefined;
    first.shift();
    this.#size--;
    return next;
  }

  #drop(): boolean {
    for (let part = PRIORITIES.length - 1; part > 0; part--) {
      const entry = this.#parts[part]!.shift();
      if (!entry) continue;
      this.#size--;
      this.#note(entry.delivery as Message | Gap);
      return true;
    }
    return false;
  }

  #note(delivery: Message | Gap): void {
    const { topic, priority, epoch } = delivery;
    const isMessage = delivery.type === 'message';
    const [from, to] = isMessage ? [delivery.seq, delivery.seq] : [delivery.from, delivery.to];
    const count = isMessage ? 1 : delivery.count;
    const lane = laneOf(delivery);
    const before = this.#gaps.get(lane);
    const sum = before ? (before.count === null || count === null ? null : before.count + count) : count;
    this.#gaps.set(lane, {
      type: 'gap',
      topic,
      priority,
      from: before?.from ?? from,
      to,
      reason: 'local',
      count: sum,
      epoch,
    });
    if (!isMessage) return;
    this.dropped++;
    this.#onDropped(delivery);
  }
}

/** A lane within an epoch. */
function laneOf({ topic, priority, epoch }: { topic: string; priority: Priority; epoch: number }): string {
  return `${epoch} ${priority} ${topic}`;
}

interface Entry {
  readonly at: number;
  readonly delivery: Delivery;
}

/** First in, first out, without moving what waits. */
class Fifo {
  #entries: (Entry | undefined)[] = [];
  #begin = 0;
  get head(): Entry | undefined {
    return this.#entries[this.#begin];
  }
  push(entry: Entry): void {
    this.#entries.push(entry);
  }
  shift(): Entry | undefined {
    const entry = this.#entries[this.#begin];
    if (entry === undefined) return undefined;
    this.#entries[this.#begin++] = undefined;
    if (this.#begin > 1024 && this.#begin * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#begin);
      this.#begin = 0;
    }
    return entry;
  }
}
