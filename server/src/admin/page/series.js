// Job: the past of figures for a day, in fixed memory: by seconds, by tens of seconds, by minutes.
// Knows: times and numbers. Must never know: what they measure, how they are drawn.

/** Steps of each level in milliseconds, and how many are kept: ten minutes, two hours, a day. */
export const LEVELS = [
  { stepMs: 1000, kept: 600 },
  { stepMs: 10_000, kept: 720 },
  { stepMs: 60_000, kept: 1440 },
];

class Level {
  constructor({ stepMs, kept }, width) {
    Object.assign(this, { stepMs, kept });
    /** Which step stands at a place; -1: none. */
    this.steps = new Float64Array(kept).fill(-1);
    this.counts = new Uint32Array(kept);
    this.columns = Array.from({ length: width }, () => new Float64Array(kept));
  }

  add(timeMs, values, ways) {
    const step = Math.floor(timeMs / this.stepMs);
    const at = step % this.kept;
    const isNew = this.steps[at] !== step;
    // A clock that was set back does not overwrite what came later.
    if (isNew && this.steps[at] > step) return;
    if (isNew) {
      this.steps[at] = step;
      this.counts[at] = 0;
    }
    const n = ++this.counts[at];
    this.columns.forEach((column, i) => {
      const value = values[i];
      if (n === 1) column[at] = value;
      else if (ways[i] === 'max') column[at] = Math.max(column[at], value);
      else if (ways[i] === 'sum') column[at] += value;
      else column[at] += (value - column[at]) / n;
    });
  }
}

export class Series {
  /** @param {Object<string, 'mean'|'max'|'sum'>} names figures, and how several become one */
  constructor(names) {
    this.names = Object.keys(names);
    this.ways = Object.values(names);
    this.levels = LEVELS.map((level) => new Level(level, this.names.length));
  }

  get bytes() {
    const of = (level) =>
      level.steps.byteLength + level.counts.byteLength + level.columns.reduce((sum, c) => sum + c.byteLength, 0);
    return this.levels.reduce((sum, level) => sum + of(level), 0);
  }

  /** Takes figures by name; one that is missing counts as 0. */
  add(timeMs, figures) {
    const values = this.names.map((name) => figures[name] ?? 0);
    for (const level of this.levels) level.add(timeMs, values, this.ways);
  }

  /**
   * The values of a time, oldest first, evenly spaced; `null` where nothing came.
   * @returns {{stepMs: number, startMs: number, values: (number|null)[]}}
   */
  read(name, endMs, spanMs) {
    const level = this.levels.find(({ stepMs, kept }) => stepMs * kept >= spanMs) ?? this.levels.at(-1);
    const { stepMs, kept } = level;
    const column = level.columns[this.names.indexOf(name)];
    const count = Math.min(kept, Math.round(spanMs / stepMs));
    const last = Math.floor(endMs / stepMs);
    const values = Array.from({ length: count }, (_, i) => {
      const step = last - count + 1 + i;
      return level.steps[step % kept] === step ? column[step % kept] : null;
    });
    return { stepMs, startMs: (last - count + 1) * stepMs, values };
  }
}

/** The latest values of something small, such as one client: so many, evenly spaced. */
export class Trail {
  constructor(kept = 60) {
    this.values = new Float32Array(kept);
    this.count = 0;
  }
  add(value) {
    this.values[this.count++ % this.values.length] = value;
  }
  /** Oldest first. */
  get list() {
    const { values, count } = this;
    const n = Math.min(count, values.length);
    return Array.from({ length: n }, (_, i) => values[(count - n + i) % values.length]);
  }
}
