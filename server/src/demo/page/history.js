// Job: the past of readings in fixed memory: every sample of the last minutes, least and greatest by quarters of a
// second for an hour.
// Knows: times and numbers. Must never know: what they measure, pixels.

/** Samples kept one by one: two minutes at 200 Hz. */
export const SAMPLES_MAX = 24_000;
/** Coarse steps kept after that: an hour. */
export const STEPS_MAX = 14_400;
const STEP_US = 250_000;
/** Arrays begin small and double: what says little takes little. */
const FIRST_SIZE = 256;

/** Rows of numbers with a time each, the oldest overwritten. */
class Ring {
  constructor(most, columns) {
    this.most = most;
    this.count = 0;
    this.size = Math.min(FIRST_SIZE, most);
    this.times = new Float64Array(this.size);
    this.columns = Array.from({ length: columns }, () => new Float32Array(this.size));
  }
  get length() {
    return Math.min(this.count, this.size);
  }
  get bytes() {
    return this.times.byteLength + this.columns.reduce((sum, column) => sum + column.byteLength, 0);
  }
  /** Where the row before the newest by `back` is. */
  at(back) {
    return (this.count - 1 - back) % this.size;
  }
  push(timeUs) {
    if (this.count === this.size && this.size < this.most) this.grow();
    const at = this.count++ % this.size;
    this.times[at] = timeUs;
    return at;
  }
  grow() {
    const size = Math.min(this.size * 2, this.most);
    const larger = (array) => {
      const made = new array.constructor(size);
      made.set(array);
      return made;
    };
    this.times = larger(this.times);
    this.columns = this.columns.map(larger);
    this.size = size;
  }
}

export class History {
  constructor(columns) {
    this.width = columns;
    this.fine = new Ring(SAMPLES_MAX, columns);
    this.coarse = new Ring(STEPS_MAX, columns * 2);
    this.step = -1;
  }

  get lastUs() {
    return this.fine.count === 0 ? null : this.fine.times[this.fine.at(0)];
  }
  get bytes() {
    return this.fine.bytes + this.coarse.bytes;
  }
  last(column) {
    return this.fine.columns[column][this.fine.at(0)];
  }

  /**
   * Adds a sample. One from before the newest (history after an outage, overtaken by what is live) has no place: rows
   * are by time.
   */
  push(timeUs, values) {
    if (this.lastUs !== null && timeUs < this.lastUs) return;
    const at = this.fine.push(timeUs);
    for (let i = 0; i < this.width; i++) this.fine.columns[i][at] = values[i];
    const step = Math.floor(timeUs / STEP_US);
    const isNew = step !== this.step;
    const row = isNew ? this.coarse.push(step * STEP_US) : this.coarse.at(0);
    this.step = step;
    const { columns } = this.coarse;
    for (let i = 0; i < this.width; i++) {
      columns[2 * i][row] = isNew ? values[i] : Math.min(columns[2 * i][row], values[i]);
      columns[2 * i + 1][row] = isNew ? values[i] : Math.max(columns[2 * i + 1][row], values[i]);
    }
  }

  /**
   * From the newest to the oldest within a time: calls `take(timeUs, low, high)`; fine where the samples reach, else
   * coarse.
   */
  each(column, fromUs, toUs, take) {
    const { fine, coarse } = this;
    const finest = fine.length === 0 ? Infinity : fine.times[fine.at(fine.length - 1)];
    const coarsest = coarse.length === 0 ? Infinity : coarse.times[coarse.at(coarse.length - 1)];
    // Where nothing was overwritten yet both begin with the same sample, the coarse ones at the beginning of its step.
    const isFine = fromUs >= finest || finest < coarsest + STEP_US;
    // A wide window of fine samples is more than anybody sees.
    if (isFine && toUs - fromUs <= 60e6) {
      for (let back = 0; back < fine.length; back++) {
        const at = fine.at(back);
        const timeUs = fine.times[at];
        if (timeUs > toUs) continue;
        if (timeUs < fromUs) return;
        take(timeUs, fine.columns[column][at], fine.columns[column][at]);
      }
      return;
    }
    for (let back = 0; back < coarse.length; back++) {
      const at = coarse.at(back);
      const timeUs = coarse.times[at];
      if (timeUs > toUs) continue;
      if (timeUs < fromUs - STEP_US) return;
      take(timeUs, coarse.columns[2 * column][at], coarse.columns[2 * column + 1][at]);
    }
  }

  /** The sample nearest to a time, `null` where there is none within half a second. */
  near(column, timeUs) {
    let best = null;
    this.each(column, timeUs - 500_000, timeUs + 500_000, (at, low, high) => {
      if (best === null || Math.abs(at - timeUs) < Math.abs(best.timeUs - timeUs))
        best = { timeUs: at, value: (low + high) / 2 };
    });
    return best?.value ?? null;
  }
}
