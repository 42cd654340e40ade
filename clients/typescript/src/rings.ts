// Job: numbers out of messages, as columns: for each lane a ring of fixed size that is emptied now and then.
// Knows: messages, paths into payloads. Must never know: sockets, workers, clocks.

import type { Gap, Message } from './types.js';

/** Rows that a ring holds. */
export const CAPACITY = 16_384;

/** Rows of one lane, the oldest first. All arrays have one length. */
export interface Rows {
  readonly topic: string;
  readonly priority: string;
  readonly epoch: number;
  readonly seq: Float64Array<ArrayBuffer>;
  /** When they were published, by the server's clock: milliseconds since 1970. */
  readonly timeMs: Float64Array<ArrayBuffer>;
  /** By the name of a column; `NaN` where a message has no such number. */
  readonly columns: Readonly<Record<string, Float64Array<ArrayBuffer>>>;
}

type Pick = (data: unknown) => number;

/** What finds a number in a payload: names and indices with dots between, such as `gps.0`. `true` is 1, `false` 0. */
export function pickOf(path: string): Pick {
  const steps = path === '' ? [] : path.split('.');
  return (data) => {
    let at = data;
    for (const step of steps) at = (at as Record<string, unknown> | null | undefined)?.[step];
    return typeof at === 'number' || typeof at === 'boolean' ? Number(at) : NaN;
  };
}

/** The rings of one series: one for each lane and epoch. */
export class Rings {
  readonly #names: readonly string[];
  readonly #picks: readonly Pick[];
  readonly #capacity: number;
  readonly #rings = new Map<string, Ring>();
  /** Gaps since the last `drain`, the server's and those of rings that were full. */
  #gaps: Gap[] = [];
  /** Rows that were overwritten before they were read. */
  dropped = 0;

  /** @param columns paths, by the names of the columns */
  constructor(columns: Readonly<Record<string, string>>, capacity = CAPACITY) {
    this.#names = Object.keys(columns);
    this.#picks = Object.values(columns).map(pickOf);
    this.#capacity = capacity;
  }

  push(message: Message): void {
    const { topic, priority, epoch, seq, timeUs, data } = message;
    const key = `${epoch} ${priority} ${topic}`;
    let ring = this.#rings.get(key);
    if (!ring) {
      ring = new Ring(this.#names.length + 2, this.#capacity);
      this.#rings.set(key, ring);
    }
    const overwritten = ring.begin();
    if (overwritten >= 0) {
      this.dropped++;
      this.#lose({
        type: 'gap',
        topic,
        priority,
        epoch,
        from: overwritten,
        to: overwritten,
        reason: 'local',
        count: 1,
      });
    }
    ring.set(0, seq);
    ring.set(1, timeUs / 1000);
    for (let at = 0; at < this.#picks.length; at++) ring.set(at + 2, this.#picks[at]!(data));
    ring.end();
  }

  onGap(gap: Gap): void {
    this.#gaps.push(gap);
  }

  /** All that came since the last time, and what is missing. Rings that stayed empty are given up. */
  drain(): { rows: Rows[]; gaps: Gap[] } {
    const rows: Rows[] = [];
    for (const [key, ring] of this.#rings) {
      const columns = ring.drain();
      if (!columns) {
        this.#rings.delete(key);
        continue;
      }
      const [epoch, priority, ...topic] = key.split(' ') as [string, string, ...string[]];
      const [seq, timeMs, ...values] = columns as [Column, Column, ...Column[]];
      const named = Object.fromEntries(this.#names.map((name, at) => [name, values[at]!]));
      rows.push({ topic: topic.join(' '), priority, epoch: Number(epoch), seq, timeMs, columns: named });
    }
    const gaps = this.#gaps;
    this.#gaps = [];
    return { rows, gaps };
  }

  /** Overwritten rows of a lane follow each other: one gap tells of them. */
  #lose(gap: Gap): void {
    const at = this.#gaps.findLastIndex(
      ({ topic, priority, epoch }) => topic === gap.topic && priority === gap.priority && epoch === gap.epoch,
    );
    const last = this.#gaps[at];
    if (last?.reason !== 'local') this.#gaps.push(gap);
    else this.#gaps[at] = { ...last, to: gap.to, count: last.count! + 1 };
  }
}

type Column = Float64Array<ArrayBuffer>;

/** Columns of one length, written round and round. */
class Ring {
  #columns: Column[];
  #size = 64;
  #begin = 0;
  #count = 0;
  #at = 0;

  constructor(
    private readonly width: number,
    private readonly capacity: number,
  ) {
    this.#size = Math.min(this.#size, capacity);
    this.#columns = this.#empty();
  }

  /** Makes room for a row. Returns the first column of what that has overwritten, else -1. */
  begin(): number {
    if (this.#count === this.#size && this.#size < this.capacity) this.#grow();
    this.#at = (this.#begin + this.#count) % this.#size;
    if (this.#count < this.#size) return -1;
    this.#begin = (this.#begin + 1) % this.#size;
    this.#count--;
    return this.#columns[0]![this.#at]!;
  }

  set(column: number, value: number): void {
    this.#columns[column]![this.#at] = value;
  }

  end(): void {
    this.#count++;
  }

  /** What is in it, in order; it is empty then. `undefined`: nothing. */
  drain(): Column[] | undefined {
    if (this.#count === 0) return undefined;
    const rows = this.#columns.map((column) => this.#inOrder(column, this.#count));
    this.#begin = this.#count = 0;
    return rows;
  }

  #inOrder(column: Column, size: number): Column {
    const rows = new Float64Array(size);
    const first = column.subarray(this.#begin, Math.min(this.#begin + this.#count, this.#size));
    rows.set(first);
    rows.set(column.subarray(0, this.#count - first.length), first.length);
    return rows;
  }

  #empty(): Column[] {
    return Array.from({ length: this.width }, () => new Float64Array(this.#size));
  }

  #grow(): void {
    const size = Math.min(this.capacity, this.#size * 4);
    this.#columns = this.#columns.map((column) => this.#inOrder(column, size));
    this.#begin = 0;
    this.#size = size;
  }
}
