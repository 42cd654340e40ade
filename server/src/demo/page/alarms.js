// Job: alarms as a state: which hold now, which were seen, which cannot be trusted any more; and what was before.
// Knows: raised, cleared, acknowledged. Must never know: where alarms come from, how they look.

/** Alarms that hold at once, and lines of what was: bounded, whatever a publisher sends. */
export const ACTIVE_MAX = 200;
export const PAST_MAX = 300;
const RANK = { critical: 0, high: 1, normal: 2, low: 3 };
const TEXT_MAX = 200;

/**
 * @typedef {object} Alarm
 * @property {string} key source, code and part: what is raised and cleared
 * @property {string} source whose it is, such as `rover/1`
 * @property {string} priority
 * @property {string} text
 * @property {number} sinceUs
 * @property {boolean} isAcknowledged
 * @property {string|null} doubt why it may not hold any more
 */

export class Alarms {
  constructor() {
    /** @type {Map<string, Alarm>} */
    this.active = new Map();
    /** What happened, the newest first. */
    this.past = [];
    this.revision = 0;
    this.leftOut = 0;
  }

  /** Takes a message of an alarm topic. True where it raised what was not raised before: worth a sound. */
  take(source, data, timeUs, priority) {
    if (typeof data !== 'object' || data === null) return false;
    const code = String(data.code ?? 'alarm').slice(0, 64);
    const key = `${source} ${code} ${String(data.part ?? '').slice(0, 16)}`;
    const text = String(data.text ?? code).slice(0, TEXT_MAX);
    return data.state === 'cleared'
      ? this.clear(key, timeUs, text)
      : this.raise({ key, source, priority, text, sinceUs: timeUs });
  }

  raise({ key, source, priority, text, sinceUs }) {
    const held = this.active.get(key);
    // Priorities overtake each other: what is older than what is known says nothing new.
    if (held && sinceUs < held.changedUs) return false;
    if ((this.clearedUs?.get(key) ?? -1) > sinceUs) return false;
    if (!held && this.active.size >= ACTIVE_MAX) {
      this.leftOut++;
      return false;
    }
    const isWorse = !held || RANK[priority] < RANK[held.priority];
    this.note({ timeUs: sinceUs, source, priority, text, isRaised: true });
    this.active.set(key, {
      key,
      source,
      priority,
      text,
      sinceUs: held?.sinceUs ?? sinceUs,
      changedUs: sinceUs,
      isAcknowledged: held ? held.isAcknowledged && !isWorse : false,
      doubt: null,
    });
    return isWorse;
  }

  clear(key, timeUs, text) {
    const held = this.active.get(key);
    this.clearedUs ??= new Map();
    this.clearedUs.set(key, timeUs);
    if (this.clearedUs.size > 2 * ACTIVE_MAX) this.clearedUs.delete(this.clearedUs.keys().next().value);
    const { source, priority } = held ?? { source: key.split(' ')[0], priority: 'normal' };
    if (held && timeUs < held.changedUs) return false;
    this.active.delete(key);
    this.note({ timeUs, source, priority, text, isRaised: false });
    return false;
  }

  acknowledge(key) {
    const alarm = this.active.get(key);
    if (!alarm || alarm.isAcknowledged) return;
    alarm.isAcknowledged = true;
    this.revision++;
  }

  acknowledgeAll() {
    for (const key of this.active.keys()) this.acknowledge(key);
  }

  /** Messages are missing: what was raised may have ended, and what has begun may not be known. */
  doubt(why, isMeant = () => true) {
    for (const alarm of this.active.values()) {
      if (isMeant(alarm) && alarm.doubt !== why) {
        alarm.doubt = why;
        this.revision++;
      }
    }
  }

  /** Those that hold, the worst first, then the newest. */
  list(filter = {}) {
    return [...this.active.values()]
      .filter((alarm) => isShown(alarm, filter) && !(filter.isOpenOnly && alarm.isAcknowledged))
      .sort(
        (a, b) => a.isAcknowledged - b.isAcknowledged || RANK[a.priority] - RANK[b.priority] || b.sinceUs - a.sinceUs,
      );
  }

  listPast(filter = {}) {
    return this.past.filter((line) => isShown(line, filter));
  }

  /** How many hold, by priority, and how many of them nobody has seen. */
  get counts() {
    const counts = { critical: 0, high: 0, normal: 0, low: 0, open: 0 };
    for (const { priority, isAcknowledged } of this.active.values()) {
      counts[priority]++;
      if (!isAcknowledged) counts.open++;
    }
    return counts;
  }

  /** Lines go by time: priorities overtake each other, and the first ones are each lane's last. */
  note(line) {
    const at = this.past.findIndex((other) => other.timeUs <= line.timeUs);
    this.past.splice(at < 0 ? this.past.length : at, 0, line);
    this.past.length = Math.min(this.past.length, PAST_MAX);
    this.revision++;
  }
}

function isShown({ priority, source, text }, { priorities, words }) {
  if (priorities && !priorities.includes(priority)) return false;
  return !words || `${source} ${text}`.toLowerCase().includes(words.toLowerCase());
}
