// npm ws: client.send in a loop, one turn of node's event loop for each burst. Lines: see perf/src/host/mod.rs. The argument is where ws is.
// Over https where PEER_CERTIFICATE and PEER_KEY name files.
'use strict';
const { readSync, openSync, closeSync, readFileSync } = require('fs');
const { crc32 } = require('zlib');
const { WebSocketServer } = require(process.argv[2]);

const topics = new Map();
const { PEER_CERTIFICATE, PEER_KEY } = process.env;
const http = PEER_CERTIFICATE
  ? require('https').createServer({ cert: readFileSync(PEER_CERTIFICATE), key: readFileSync(PEER_KEY) })
  : require('http').createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on('connection', (socket, request) => {
  const topic = request.url.slice('/t/'.length);
  if (!topics.has(topic)) topics.set(topic, new Set());
  const members = topics.get(topic);
  members.add(socket);
  socket.on('close', () => members.delete(socket));
  socket.on('error', () => {});
});
http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () =>
  console.log(`listening on ${PEER_CERTIFICATE ? 'wss' : 'ws'}://127.0.0.1:${http.address().port}`)
);

const nowNs = () => process.hrtime.bigint();
const FILL = Array.from({ length: 1 << 16 }, (_, i) => String.fromCharCode(65 + ((i * i + 7 * i) >> 3) % 16)).join('');
let sent = 0;

// The payload that the clients check: see perf/src/payload.rs.
function payload(seq, intendedNs, bytes) {
  const head = `FW1 ${seq.toString(16).padStart(16, '0')} ${intendedNs.toString(16).padStart(16, '0')} `;
  const from = seq % 4096;
  const fill = FILL.slice(from, from + bytes - head.length - 9);
  return head + crc32(head + fill).toString(16).padStart(8, '0') + ' ' + fill;
}

function one(load, intendedNs) {
  const message = Buffer.from(payload(Math.floor(sent / load.topics) + 1, intendedNs, load.bytes));
  for (const client of topics.get(`t${sent % load.topics}`) ?? []) client.send(message, { binary: false });
  sent += 1;
}

const counters = Buffer.alloc(512);
function checked(file) {
  if (file === null) return 0n;
  const got = readSync(file, counters, 0, counters.length, 0);
  let sum = 0n;
  for (let at = 0; at + 8 <= got; at += 8) sum += counters.readBigUInt64LE(at);
  return sum;
}

function publish(words) {
  const [rate, bytes, burst, topicCount, seconds] = words.slice(0, 5).map(Number);
  const load = { bytes, topics: topicCount };
  const [subscribers, ahead] = words.slice(6, 8).map(Number);
  const file = words[8] === '-' ? null : openSync(words[8]);
  const base = checked(file);
  const began = nowNs();
  const end = began + BigInt(Math.round(seconds * 1e9));
  let count = 0;
  let late = 0n;
  const finish = () => {
    if (file !== null) closeSync(file);
    console.log(`published ${count} ${nowNs() - began} ${late} 0`);
  };
  const atRate = () => {
    const total = Math.ceil(rate * seconds);
    for (;;) {
      if (count === total) return finish();
      const intended = began + BigInt(Math.round((count * 1e9) / rate));
      const wait = Number(intended - nowNs()) / 1e6;
      if (wait > 0) return void setTimeout(atRate, wait);
      if (-wait * 1e6 > Number(late)) late = BigInt(Math.round(-wait * 1e6));
      one(load, intended);
      count += 1;
    }
  };
  const saturate = () => {
    if (nowNs() >= end) return finish();
    if (BigInt(count * subscribers) - (checked(file) - base) > BigInt(ahead * burst * subscribers)) return void setTimeout(saturate, 1);
    for (let i = 0; i < burst; i += 1) one(load, nowNs());
    count += burst;
    setImmediate(saturate);
  };
  (rate > 0 ? atRate : saturate)();
}

require('readline')
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const words = line.split(' ');
    if (words[0] === 'publish') publish(words.slice(1));
    else console.log('counters {}');
  })
  .on('close', () => process.exit(0));
