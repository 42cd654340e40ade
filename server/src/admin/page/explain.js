// Job: what each figure means, in words: shown where it is pointed at, has the focus, or is touched.
// Knows: texts. Must never know: values. docs/how-to/watch.md says the same at length.

export const EXPLAIN = {
  connections: 'Connections that are open now, handshakes included.',
  behind: 'Clients that have something still to get. Short bursts are usual; who stays here is slow.',
  lost: 'Messages a second that slow clients were told they have lost. One that reads nothing cannot be told yet: its row has it.',
  deliveries: 'Messages a second that were sent to clients: one for each message and subscriber.',
  sent: 'Bytes a second given to the kernel, with all that stands around payloads.',
  latency:
    "From publishing to the last subscriber's send, 99 % of messages, in the last second. The network is not in it.",
  client:
    "SHARD.SLOT.GENERATION: a client's name for life, also in the logs. Below it: who it is by its token, and its address.",
  lane: 'The lane (topic and priority) that it is furthest behind in, and how many it has besides.',
  used: 'How far behind in its worst lane, as a share of what the lane keeps. 70 %: counted as lagging; 90 %: the oldest go.',
  behind_bytes: 'Bytes that it has still to get, in all its lanes.',
  drops_in: 'Seconds until it loses something, if it goes on as in the last second. Now: it takes nothing, and the oldest go. A dash: it will not.',
  cause:
    'link: the network takes less than is sent. reader: the client does not read. burst: it takes all, and catches up.',
  lost_of: 'Messages lost since it connected, and the latest range, by sequence numbers.',
  work: "What it costs: the share of one shard's time. A client that does not lag may still cost most.",
  sent_of: 'Bytes a second that are sent to it.',
  close: 'Closes this connection with 1012: a well-made client comes back and goes on where it was.',
  drain: 'The server ends: new connections are refused, all others are closed one by one (1012) over half a minute.',
  lanes:
    'How far the slowest subscriber of each lane is behind. At 70 % it counts as lagging, at 90 % the oldest are dropped.',
  kept: 'What the lane keeps for subscribers that lag or come back. Near its capacity is usual.',
  gaps: 'Messages that clients were told they have lost, by the priority of their lane; below it the latest one by one.',
  topics: 'The busiest topics. A branch sums up what is below it.',
  rate: 'Messages a second published.',
  subscribers: 'Connections that get this topic.',
  tail: 'Messages as they come. At a limited rate the newest are shown and the others passed over, which costs the server little.',
  shard: "The share of the last second in which the shard's thread was at work. Near 100 % everybody waits.",
  turn: "How long one pass of a shard's loop took: what a new message may have to wait.",
  first_send: "From publishing to the first subscriber's send.",
  last_send: "From publishing to the last subscriber's send.",
  messages: 'Messages a second published, once however many subscribe.',
  compressed:
    'Compressions a second, what they make of the size, and how many deliveries each one served: one is done for all subscribers that take the same form.',
  saved: 'Bytes a second that were not sent because messages were compressed, over all subscribers.',
  reuse: 'How many deliveries each rendered message served: what sharing saves.',
  passed_over: 'Messages a second that clients did not want: max_hz, latest, expiry.',
  pool: 'Memory of logs and of payloads in use, of what was reserved.',
  ring: 'Bytes that wait between publishers and the slowest shard. Full, publishers wait.',
  short: 'Sends a second that a socket did not take whole: full sockets.',
  churn: 'Connections a second that came and went.',
  evicted: 'Clients closed with 1013, for they may not lose critical messages and could not take them.',
};
