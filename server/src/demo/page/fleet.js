// Job: what is known of each rover, and how old it is: rovers appear by themselves, and who falls silent is seen to be.
// Knows: the rovers' topics and readings. Must never know: the protocol, pixels.

import { History } from './history.js';

/**
 * Rovers with views of their own; a further one takes the place of the one that has been silent for longest, if any is.
 */
export const ROVERS_MAX = 12;
/** Nothing of a rover for so long: it is shown as silent. */
export const STALE_MS = 1200;
/** Topics without a rhythm (alarms) are never late; others after so many of their usual intervals. */
const LATE_INTERVALS = 1.7;
const RHYTHM_MAX_MS = 5000;
const TRACK_POINTS = 6000; // ten minutes at 10 Hz
const COLOURS = 8;

/** How old one kind of reading is, against how often it comes. */
class Rhythm {
  constructor() {
    this.lastMs = null;
    this.intervalMs = null;
  }
  beat(nowMs) {
    if (this.lastMs !== null) {
      const interval = nowMs - this.lastMs;
      // The usual one, not the last one: a burst after an outage or one late reading changes little.
      this.intervalMs = this.intervalMs === null ? interval : this.intervalMs + (interval - this.intervalMs) * 0.1;
    }
    this.lastMs = nowMs;
  }
  isLate(nowMs) {
    if (this.lastMs === null || this.intervalMs === null || this.intervalMs > RHYTHM_MAX_MS) return false;
    return nowMs - this.lastMs > Math.max(STALE_MS, this.intervalMs * LATE_INTERVALS);
  }
}

export class Rover {
  constructor(source, colourNumber) {
    this.source = source;
    this.name = source.split('/')[1];
    this.label = /^\d+$/.test(this.name) ? `Rover ${this.name}` : this.name;
    this.colour = `series-${colourNumber}`;
    this.imu = new History(6);
    this.six = [0, 0, 0, 0, 0, 0];
    this.points = [];
    this.heading = 0;
    this.hasFix = true;
    this.currents = [];
    this.shown = [];
    this.battery = null;
    this.lastMs = 0;
    this.lastUs = 0;
    this.rhythms = {};
  }

  isStale(nowMs) {
    return nowMs - this.lastMs > STALE_MS;
  }
  /** One kind of reading is late, or the whole rover is. */
  isLate(what, nowMs) {
    return this.isStale(nowMs) || (this.rhythms[what]?.isLate(nowMs) ?? false);
  }
}

const isNumbers = (value, n) => Array.isArray(value) && value.length >= n && value.every(Number.isFinite);

/** Each takes a reading, or says (false) that it is none. */
const TAKERS = {
  imu(rover, { acc, gyro }, timeUs) {
    if (!isNumbers(acc, 3) || !isNumbers(gyro, 3)) return false;
    for (let i = 0; i < 3; i++) [rover.six[i], rover.six[3 + i]] = [acc[i], gyro[i]];
    rover.imu.push(timeUs, rover.six);
  },
  gps(rover, { east, north, heading, fix }, timeUs) {
    if (!isNumbers([east, north], 2)) return false;
    rover.points.push([east, north, timeUs]);
    if (rover.points.length > TRACK_POINTS) rover.points.splice(0, TRACK_POINTS / 10);
    if (Number.isFinite(heading)) rover.heading = heading;
    rover.hasFix = fix !== false;
  },
  motors(rover, { amperes }) {
    if (!isNumbers(amperes, 1) || amperes.length > 16) return false;
    rover.currents = amperes;
  },
  battery(rover, data) {
    if (!Number.isFinite(data.percent)) return false;
    rover.battery = data;
  },
  heartbeat() {},
  alarm() {},
};

export class Fleet {
  constructor() {
    /** @type {Map<string, Rover>} */
    this.rovers = new Map();
    this.revision = 0;
    this.made = 0;
  }

  get list() {
    return [...this.rovers.values()].sort((a, b) => a.source.localeCompare(b.source, 'en', { numeric: true }));
  }

  /** Takes a message. Hands back its rover and what it is, or `null` where it is no rover's reading. */
  take({ topic, kind, data, timeUs, nowMs, isHistory }) {
    const [first, name, what, more] = topic.split('/');
    if (first !== 'rover' || !name || more !== undefined || kind !== 'json' || !Object.hasOwn(TAKERS, what))
      return null;
    if (typeof data !== 'object' || data === null) return null;
    const rover = this.rovers.get(`rover/${name}`) ?? this.add(`rover/${name}`, nowMs);
    if (rover === null || TAKERS[what](rover, data, timeUs) === false) return null;
    // What was kept from before says nothing about now.
    if (isHistory) rover.lastMs ||= nowMs - STALE_MS - 1;
    else {
      rover.lastMs = nowMs;
      (rover.rhythms[what] ??= new Rhythm()).beat(nowMs);
    }
    rover.lastUs = Math.max(rover.lastUs, timeUs);
    return { rover, what };
  }

  add(source, nowMs) {
    if (this.rovers.size >= ROVERS_MAX) {
      const longest = [...this.rovers.values()].sort((a, b) => a.lastMs - b.lastMs)[0];
      if (!longest.isStale(nowMs)) return null;
      this.rovers.delete(longest.source);
    }
    const taken = new Set([...this.rovers.values()].map(({ colour }) => colour));
    const wanted = Number(source.split('/')[1]);
    const order = Array.from(
      { length: COLOURS },
      (_, n) => ((Number.isInteger(wanted) ? wanted - 1 + n : n) % COLOURS) + 1,
    );
    const colour = order.find((n) => n > 0 && !taken.has(`series-${n}`)) ?? (this.made % COLOURS) + 1;
    this.made++;
    const rover = new Rover(source, colour);
    this.rovers.set(source, rover);
    this.revision++;
    return rover;
  }
}
