// Job: a subscription that survives its connections: asks, discards what came before, counts what is lost, goes on by
// `since`.
// Knows: the objects of fanwire.json.v1. Must never know: close codes (connection.js), what a payload means.

import { Connection } from './connection.js';
import { decode } from './decode.js';
import { Ledger } from './ledger.js';

/** Outages kept, the newest first. */
const OUTAGES_MAX = 50;

/**
 * A time without a connection, and what it cost.
 * @typedef {object} Outage
 * @property {number} fromMs wall clock: when something last came
 * @property {number|null} toMs when the connection was there again
 * @property {string} text why
 * @property {number} recovered messages of that time that came after all
 * @property {number} missed messages that are not kept any more: exactly so many
 * @property {boolean} isAnew the server has begun to count anew: of what it published before that, nothing is known
 */

export class Client {
  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string[]} options.topics names and patterns
   * @param {object} [options.more] further fields of the subscribe request
   * @param {object} options.on `message`, `gap`, `state`, `welcome`, `outage`, `refused`: functions, all optional
   * @param {object} [options.world] clock, timers and sockets of a test
   */
  constructor({ url, topics, more = {}, on, world }) {
    Object.assign(this, { topics, more, on });
    this.wallMs = world?.wallMs ?? (() => Date.now());
    this.ledger = new Ledger();
    this.lost = 0;
    this.omitted = 0;
    /** @type {Outage[]} */
    this.outages = [];
    this.heardMs = this.wallMs();
    this.welcomeUs = 0;
    this.state = null;
    this.connection = new Connection({
      url,
      world,
      onState: (state) => this.onState(state),
      onOpen: () => this.subscribe(),
      onLost: () => this.ledger.resume(),
      onObject: (object, size) => this.onObject(object, size),
    });
    this.connection.open();
  }

  /** Goes on by another way, or once more by hand. */
  open(url) {
    this.connection.open(url);
  }

  close() {
    this.connection.close();
  }

  /** Subscribes to these instead: what is in both goes on. */
  retarget(topics) {
    const gone = this.topics.filter((topic) => !topics.includes(topic));
    const come = topics.filter((topic) => !this.topics.includes(topic));
    this.topics = [...topics];
    gone.forEach((topic) => this.ledger.topics.delete(topic));
    if (gone.length > 0) this.connection.send({ type: 'unsubscribe', topics: gone });
    if (come.length > 0) this.connection.send({ type: 'subscribe', id: 1, topics: come, ...this.more });
  }

  get rtt() {
    return this.connection.rtt;
  }

  /** The outage that is not over, if there is one. */
  get outage() {
    return this.outages[0]?.toMs === null ? this.outages[0] : null;
  }

  // ---- inside ----

  subscribe() {
    if (this.topics.length === 0) return;
    const { since } = this.ledger;
    const going = since && this.ledger.isResumed ? { since, from: 'oldest' } : {};
    this.connection.send({ type: 'subscribe', id: 1, topics: this.topics, ...this.more, ...going });
  }

  onState(state) {
    const wasOpen = this.state === null || this.state.name === 'open';
    this.state = state;
    if (state.name === 'open') this.endOutage();
    else if (wasOpen && this.welcomeUs > 0) this.beginOutage(state);
    else if (this.outage && state.name !== 'connecting') this.outage.text = state.text;
    this.on.state?.(state);
  }

  beginOutage({ text }) {
    this.outages.unshift({ fromMs: this.heardMs, toMs: null, text, recovered: 0, missed: 0, isAnew: false });
    this.outages.length = Math.min(this.outages.length, OUTAGES_MAX);
    this.on.outage?.(this.outages[0]);
  }

  endOutage() {
    const { outage } = this;
    if (!outage) return;
    outage.toMs = this.wallMs();
    this.on.outage?.(outage);
  }

  onObject(object, size) {
    this.heardMs = this.wallMs();
    switch (object.type) {
      case 'message':
        return this.onMessage(object, size);
      case 'gap':
        return this.onGap(object);
      case 'subscribed':
        if (this.ledger.onSubscribed(object).isAnew && this.outages[0]) this.outages[0].isAnew = true;
        return this.on.subscribed?.(object);
      case 'welcome':
        this.welcomeUs = object.time_us;
        return this.on.welcome?.(object);
      case 'error':
        return this.on.refused?.(object);
    }
  }

  onMessage(object, size) {
    const { isNew, omitted } = this.ledger.onMessage(object);
    if (!isNew) return;
    this.omitted += omitted;
    // Published before this connection was made: history, whose age says nothing about the way here.
    const isHistory = object.time_us < this.welcomeUs;
    if (isHistory && this.ledger.isResumed && this.outages[0]) this.outages[0].recovered++;
    this.on.message?.({ ...decode(object), size, isHistory });
  }

  onGap(gap) {
    const lost = this.ledger.onGap(gap);
    this.lost += lost;
    const { topic, priority, from, to, reason } = gap;
    // Only a resume reaches back behind what is kept.
    const isOutage = (reason === 'retention' || reason === 'epoch') && this.outages.length > 0;
    if (isOutage) {
      this.outages[0].missed += lost;
      this.on.outage?.(this.outages[0]);
    }
    this.on.gap?.({ topic, priority, from, to, reason, lost, isOutage, timeMs: this.wallMs() });
  }
}
