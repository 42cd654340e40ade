// Clock, timers, sockets and chance of a test: time passes when it is told to.

export class World {
  constructor() {
    this.nowMs = 1000;
    this.timers = new Map();
    this.made = 0;
    this.sockets = [];
    this.chance = 0.5;
    /** What hears the page: `(socket, object)`. */
    this.answer = () => {};
  }

  /** What client/connection.js wants. */
  get functions() {
    const add = (run, ms, every) => {
      this.timers.set(++this.made, { run, at: this.nowMs + ms, every });
      return this.made;
    };
    const remove = (timer) => this.timers.delete(timer);
    return {
      now: () => this.nowMs,
      wallMs: () => 1.7e12 + this.nowMs,
      setTimeout: (run, ms) => add(run, ms, 0),
      setInterval: (run, ms) => add(run, ms, ms),
      clearTimeout: remove,
      clearInterval: remove,
      random: () => this.chance,
      socket: (url, protocol) => new Socket(this, url, protocol),
    };
  }

  pass(ms) {
    const end = this.nowMs + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      const [id, timer] = due;
      this.nowMs = timer.at;
      if (timer.every) timer.at += timer.every;
      else this.timers.delete(id);
      timer.run();
    }
    this.nowMs = end;
  }

  get socket() {
    return this.sockets.at(-1);
  }
}

class Socket {
  constructor(world, url, protocol) {
    Object.assign(this, { world, url, protocol, readyState: 0, heard: [], madeAt: world.nowMs });
    world.sockets.push(this);
  }
  open() {
    this.readyState = 1;
    this.onopen?.();
  }
  send(text) {
    const object = JSON.parse(text);
    this.heard.push(object);
    this.world.answer(this, object);
  }
  say(object) {
    this.onmessage?.({ data: JSON.stringify(object) });
  }
  /** The page closes it. */
  close() {
    this.readyState = 3;
  }
  /** The server, or the network, does. */
  end(code, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export const pongs = (socket, object) => object.type === 'ping' && socket.say({ type: 'pong', id: object.id });
