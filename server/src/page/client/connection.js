// Job: one connection after the other to one server: made, found silent, lost, made again as the close code says.
// Knows: WebSockets, pings, close codes, `migrate`. Must never know: topics, numbers, what anything looks like.

import { afterClose, hintOf } from './policy.js';

const PROTOCOL = 'fanwire.json.v1';
/** A ping goes out so often: with SILENT_MS a link that was cut is known as silent within two seconds. */
export const PING_EVERY_MS = 500;
/** Nothing came for so long, no answer to a ping either: the link is shown as silent. */
export const SILENT_MS = 1500;
/** After so long it is given up, and another one made. The same for connecting. */
export const DEAD_MS = 5000;
/** How long after the moment that the server has named for its close. */
const CLOSE_PATIENCE_MS = 5000;
const LOOK_EVERY_MS = 250;
const PINGS_KEPT = 16;

/** What of the world is needed; tests bring their own. */
const WORLD = {
  now: () => performance.now(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer),
  setInterval: (run, ms) => setInterval(run, ms),
  clearInterval: (timer) => clearInterval(timer),
  random: () => Math.random(),
  socket: (url, protocol) => new WebSocket(url, protocol),
};

/**
 * A state, as people see it.
 * @typedef {object} State
 * @property {'connecting'|'open'|'silent'|'waiting'|'ended'|'refused'|'unauthorized'} name
 * @property {string} text why, for people
 * @property {number} [code] the close code of the last end
 * @property {number} [retryInMs] when the next attempt is made
 * @property {number} [silentMs] how long nothing has come
 */

export class Connection {
  /**
   * @param {object} options
   * @param {string} options.url
   * @param {(State) => void} options.onState
   * @param {() => void} options.onOpen to subscribe
   * @param {(object, number) => void} options.onObject every object but `pong` and `migrate`, and its size in
   * characters
   * @param {() => void} options.onLost the connection is gone: what is known of it is to be kept for the next one
   * @param {object} [options.world]
   */
  constructor({ url, onState, onOpen, onObject, onLost, world = {} }) {
    Object.assign(this, { url, onState, onOpen, onObject, onLost, world: { ...WORLD, ...world } });
    this.socket = null;
    this.retry = null;
    this.attempt = 0;
    this.isAnnounced = false;
    this.migration = null;
    this.elsewhere = null;
    this.pings = new Map();
    this.pingId = 0;
    this.rtt = { lastMs: null, leastMs: Infinity };
    this.heard = this.world.now();
    this.isSilent = false;
    this.hasWelcome = false;
    this.timers = [
      this.world.setInterval(() => this.ping(), PING_EVERY_MS),
      this.world.setInterval(() => this.look(), LOOK_EVERY_MS),
    ];
  }

  /** Connects, at once, whatever was before: also by hand after an end that nothing is done about. */
  open(url = this.url) {
    this.url = url;
    this.attempt = 0;
    this.elsewhere = null;
    this.leave();
    this.connect();
  }

  /** Ends it, and all its timers. */
  close() {
    this.leave();
    this.timers.forEach((timer) => this.world.clearInterval(timer));
    this.onState({ name: 'ended', text: 'closed by this page' });
  }

  send(object) {
    if (this.socket?.readyState !== 1) return false;
    this.socket.send(JSON.stringify(object));
    return true;
  }

  // ---- inside ----

  connect() {
    this.onState({ name: 'connecting', text: this.attempt ? 'connecting again' : 'connecting' });
    let socket;
    try {
      socket = this.world.socket(this.elsewhere ?? this.url, PROTOCOL);
    } catch (error) {
      this.onState({ name: 'refused', text: String(error.message ?? error) });
      return;
    }
    this.socket = socket;
    this.heard = this.world.now();
    this.rtt = { lastMs: null, leastMs: Infinity };
    socket.onopen = () => {
      this.heard = this.world.now();
      this.onState({ name: 'open', text: 'live' });
      this.ping();
      this.onOpen();
    };
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => this.lose(event.code ?? 1006, event.reason ?? '');
  }

  /** Gives the socket up without waiting for how it ends. */
  leave() {
    const { world, socket } = this;
    world.clearTimeout(this.retry);
    world.clearTimeout(this.migration);
    this.pings.clear();
    this.isSilent = false;
    this.hasWelcome = false;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.onLost();
  }

  lose(code, reason, text = hintOf(code)) {
    const { isAnnounced, attempt } = this;
    this.leave();
    this.isAnnounced = false;
    const next = afterClose({ code, attempt, isAnnounced, chance: this.world.random() });
    // The reason is the peer's: a short line of plain characters at most.
    const said = reason.replace(/[^\x20-\x7e\u00a0-\uffff]/g, ' ').slice(0, 123);
    const why = said ? `${text}: ${said}` : text;
    if (next.do !== 'retry') {
      this.onState({ name: next.do, text: why, code });
      return;
    }
    this.attempt++;
    this.onState({ name: 'waiting', text: why, code, retryInMs: next.afterMs });
    this.retry = this.world.setTimeout(() => this.connect(), next.afterMs);
    // Elsewhere is tried once; if nobody answers there, where it was is as good.
    if (!isAnnounced) this.elsewhere = null;
  }

  ping() {
    if (this.socket?.readyState !== 1 || this.pings.size >= PINGS_KEPT) return;
    const id = ++this.pingId;
    this.pings.set(id, this.world.now());
    this.send({ type: 'ping', id });
  }

  /** A page that stood still has asked nobody meanwhile: only an answer that is overdue makes silence. */
  look() {
    if (!this.socket) return;
    const now = this.world.now();
    const silentMs = now - this.heard;
    const isConnecting = this.socket.readyState === 0;
    const [asked] = this.pings.values();
    const isOverdue = (ms) => silentMs >= ms && (isConnecting || now - asked >= ms - PING_EVERY_MS);
    if (isOverdue(DEAD_MS)) {
      this.lose(1006, '', isConnecting ? 'nobody answers' : 'no answer for 5 s');
    } else if (!isConnecting && isOverdue(SILENT_MS)) {
      this.isSilent = true;
      this.onState({ name: 'silent', text: 'nothing comes, no answer to pings', silentMs });
    }
  }

  take(text) {
    this.heard = this.world.now();
    if (this.isSilent) {
      this.isSilent = false;
      this.onState({ name: 'open', text: 'live' });
    }
    let object;
    try {
      object = JSON.parse(text);
    } catch {
      return this.lose(1002, '', 'the server sent what is no JSON');
    }
    if (object.type === 'pong') this.onPong(object.id);
    else if (object.type === 'migrate') this.onMigrate(object);
    else {
      // Only a server that says something of its own has room for this page: a refusal may also come after the upgrade.
      if (object.type !== 'welcome') this.attempt = 0;
      this.onObject(object, text.length);
    }
  }

  onPong(id) {
    const sent = this.pings.get(id);
    if (sent === undefined) return;
    // Answers come in order: what was asked before will not be answered any more.
    for (const older of this.pings.keys()) if (older <= id) this.pings.delete(older);
    this.rtt.lastMs = this.world.now() - sent;
    this.rtt.leastMs = Math.min(this.rtt.leastMs, this.rtt.lastMs);
  }

  /** The server closes at a moment that is this page's own; should it not, it is not waited for much longer. */
  onMigrate({ after_ms, url }) {
    this.isAnnounced = true;
    if (typeof url === 'string' && /^wss?:\/\//.test(url)) this.elsewhere = url;
    const { socket } = this;
    const leave = () => this.socket === socket && this.lose(1012, '', 'the server asked to connect anew');
    this.migration = this.world.setTimeout(leave, after_ms + CLOSE_PATIENCE_MS);
  }
}
