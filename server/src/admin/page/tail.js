// Job: the live tail of one topic or pattern: the last messages, how many came, how many were passed over or lost.
// Knows: messages and gaps. Must never know: sockets, elements.

/** Lines kept, and characters of each: whatever a publisher sends. */
export const LINES_MAX = 300;
export const LINE_CHARACTERS = 2000;

export class Tail {
  constructor() {
    this.clear();
  }

  clear() {
    this.lines = [];
    this.count = 0;
    this.lost = 0;
    this.isHeld = false;
    this.heldBack = 0;
    this.revision = (this.revision ?? 0) + 1;
  }

  take({ topic, priority, seq, timeUs, kind, data, size }) {
    this.count++;
    this.put({
      key: `${topic} ${priority} ${seq}`,
      topic,
      priority,
      seq,
      timeMs: timeUs / 1000,
      size,
      text: textOf(kind, data),
    });
  }

  takeGap({ topic, priority, from, to, reason, lost, timeMs }) {
    this.lost += lost;
    const text = `${from}–${to} lost: ${lost} messages (${reason})`;
    this.put({
      key: `${topic} ${priority} ${from} gap`,
      topic,
      priority,
      seq: null,
      timeMs,
      size: 0,
      text,
      isGap: true,
    });
  }

  /** While it is held, what is seen stays as it is; what comes is counted. */
  put(line) {
    if (this.isHeld) {
      this.heldBack++;
      return;
    }
    this.lines.unshift(line);
    this.lines.length = Math.min(this.lines.length, LINES_MAX);
    this.revision++;
  }

  hold(isHeld) {
    this.isHeld = isHeld;
    this.heldBack = 0;
  }
}

/** A payload as one line: no character of it does anything. */
export function textOf(kind, data) {
  if (kind === 'binary') {
    const hex = [...data.subarray(0, 256)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    return `${data.length} bytes: ${hex}${data.length > 256 ? ' …' : ''}`;
  }
  const text = kind === 'text' ? String(data) : JSON.stringify(data);
  const line = text.slice(0, LINE_CHARACTERS).replace(/\p{C}/gu, '·');
  return text.length > LINE_CHARACTERS ? `${line}…` : line;
}
