// The entry point `fanwire`: all that JSON wants. Batches, MessagePack, the Worker and React have their own.

export { connect } from './client.js';
export type { Client, Stats } from './client.js';
export type { Delay } from './delay.js';
export type { ConnectOptions, Socket, SocketConstructor } from './options.js';
export type { Callbacks, Subscription, SubscriptionOptions } from './subscription.js';
export { FanwireError } from './types.js';
export type {
  Codec,
  Decoder,
  Delivery,
  EpochChange,
  Gap,
  Kind,
  LaneAccount,
  Message,
  Priority,
  PublishOptions,
  Received,
  Refused,
  Request,
  State,
  SubscribeOptions,
  Welcome,
} from './types.js';
