// Job: what the parts of the package, and its users, say to each other.

export type Priority = 'critical' | 'high' | 'normal' | 'low';
/** How the publisher's payload is to be read: one JSON value, text, or bytes. */
export type Kind = 'json' | 'text' | 'binary';

/** The most important first; their places are their numbers in a batch. */
export const PRIORITIES: readonly Priority[] = ['critical', 'high', 'normal', 'low'];

/** A message as it was published. */
export interface Message {
  readonly type: 'message';
  readonly topic: string;
  readonly priority: Priority;
  /** Its number in the lane (topic and priority), within the epoch. */
  readonly seq: number;
  /** When it was published, by the server's clock: microseconds since 1970. */
  readonly timeUs: number;
  readonly kind: Kind;
  /** A JSON value, a string, or a `Uint8Array`, by `kind`. */
  readonly data: unknown;
  /** Tells one numbering of the topic from another. */
  readonly epoch: number;
}

/**
 * Messages `from` to `to` of a lane, both included, do not come. `reason` is the server's word (`lag`, `retention`,
 * `epoch`, …), or `local`: the reader of this subscription was too slow, and its queue was full.
 */
export interface Gap {
  readonly type: 'gap';
  readonly topic: string;
  readonly priority: Priority;
  readonly from: number;
  readonly to: number;
  readonly reason: string;
  /** How many messages are missing; `null`: nobody knows, at least one, at most `to - from + 1`. */
  readonly count: number | null;
  readonly epoch: number;
}

/** A topic is numbered anew. How much of the old numbering was missed nobody can say. */
export interface EpochChange {
  readonly type: 'epoch';
  readonly topic: string;
  readonly before: number;
  readonly after: number;
}

/** The server said no to a request, or has ended a subscription to a name or pattern (`unsubscribed`). */
export interface Refused {
  readonly type: 'refused';
  readonly code: string;
  readonly message: string;
}

/** What a subscription brings. */
export type Delivery = Message | Gap | EpochChange | Refused;

/** How the connection stands. */
export type State =
  | { readonly name: 'connecting' }
  | { readonly name: 'open'; readonly protocol: string }
  | { readonly name: 'waiting'; readonly code: number; readonly reason: string; readonly retryInMs: number }
  | {
      readonly name: 'ended';
      /** `normal`: closed by either side; `refused`: trying again would not help; `unauthorized`: no valid token. */
      readonly how: 'normal' | 'refused' | 'unauthorized';
      readonly code: number;
      readonly reason: string;
    };

/** The first object of a connection. */
export interface Welcome {
  readonly session?: string;
  readonly server?: string;
  readonly protocol?: string;
  readonly time_us: number;
  readonly limits?: Readonly<Record<string, number>>;
}

export interface SubscribeOptions {
  /** Messages a second of each lane, at most; with a batch protocol: frames. */
  readonly maxHz?: number;
  /** Messages may wait so long on the server, to be sent together: 0 to 1,000 ms. Older servers ignore it. */
  readonly maxDelayMs?: number;
  /** Where topics begin: with their last message (`newest`, the default), or the oldest that is kept. */
  readonly from?: 'newest' | 'oldest';
  /** `false`: what this client publishes does not come back. */
  readonly echo?: boolean;
}

export interface PublishOptions {
  /** Default: `binary` for bytes, `json` for everything else. */
  readonly kind?: Kind;
  readonly priority?: Priority;
  /** What the message replaces, where the topic's policy is `latest`: 1 to 255 bytes. */
  readonly key?: string;
  /** Milliseconds after which the message is worth nothing: an integer. */
  readonly ttlMs?: number;
  /** The trace that the message belongs to (W3C Trace Context). */
  readonly traceparent?: string;
}

/** How one lane stands in one epoch. Where it is exact, `published` = `delivered` + `lost` + `leftOut`. */
export interface LaneAccount {
  readonly topic: string;
  readonly epoch: number;
  readonly priority: Priority;
  /** Numbers from where this client began up to the last it heard of; `null`: the lane's numbers have holes. */
  readonly published: number | null;
  readonly delivered: number;
  /** Announced by gaps, local ones too; `null` where a gap could not say how many. */
  readonly lost: number | null;
  /** Passed over on purpose (`maxHz`, the policy `latest`, `ttl`, `echo`); `null` where numbers have holes. */
  readonly leftOut: number | null;
  /** Came a second time, or were not due: discarded. */
  readonly discarded: number;
}

/** An object that goes to the server. The payload of `publish` stands in `data` as `kind` says. */
export type Request = Readonly<Record<string, unknown>> & { readonly type: string };

/** An object that came from the server; of a message, what the codec has made of it. */
export type Received = Readonly<Record<string, unknown>> & { readonly type: string };

/** What a codec makes of one connection's data. */
export interface Decoder {
  /** Gives each object in turn to `take`. Throws where the data is none of the protocol. */
  decode(data: string | Uint8Array, take: (object: Received) => void): void;
}

/** Subprotocols, and how objects stand in them. */
export interface Codec {
  /** What is offered, the best first. */
  readonly protocols: readonly string[];
  encode(request: Request): string | Uint8Array<ArrayBuffer>;
  /** A decoder for one connection. */
  decoder(): Decoder;
}

/** Every failure that this package reports. */
export class FanwireError extends Error {
  /**
   * @param code for programs: an error code of the protocol, or `closed`, `unconfirmed`, `overflow`, `too_large`,
   *   `bad_option`, `refused`, `unauthorized`
   */
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = 'FanwireError';
  }
}
