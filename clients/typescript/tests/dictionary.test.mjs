// Frames with dictionaries: those of clients/conformance/dictionary, and hostile ones.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { constants, deflateRawSync } from 'node:zlib';
import { DictionaryReader } from '../dist/dictionary.js';

const CODECS = ['lz4', 'deflate'];
const utf8 = new TextDecoder();
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const linesOf = (codec) =>
  readFileSync(new URL(`../../conformance/dictionary/${codec}.txt`, import.meta.url), 'utf8').trim().split('\n');
const framesOf = (codec) =>
  linesOf(codec).filter((line) => line.startsWith('frame ')).map((line) => bytes(line.slice(6)));
const reader = (codec, blockBytesMax = 1 << 20) => new DictionaryReader({ codec, blockBytesMax, lanesMax: 3 });

for (const codec of CODECS) {
  test(`every frame of ${codec} is read from the beginning and by who joins`, () => {
    const [first, got, gotLate, expected] = [reader(codec), [], [], []];
    let late;
    let joinedAt = 0;
    const told = ({ lane, kind, seq, timeUs, payload }) => [lane, kind, seq, timeUs, utf8.decode(payload)];
    for (const line of linesOf(codec)) {
      const [what, ...rest] = line.split(' ');
      if (what === 'frame') {
        got.push(...first.read(bytes(rest[0])).map(told));
        if (late) gotLate.push(...late.read(bytes(rest[0])).map(told));
      } else if (what === 'message') {
        const [seq, timeUs, ...payload] = rest;
        expected.push([14, 2, Number(seq), Number(timeUs), payload.join(' ')]);
      } else {
        late = reader(codec);
        joinedAt = expected.length;
      }
    }
    assert.ok(expected.length > 130 && joinedAt > 0);
    assert.deepEqual(got, expected);
    assert.deepEqual(gotLate, expected.slice(joinedAt));
  });

  test(`who joins ${codec} without the history is told what is missing`, () => {
    assert.throws(() => reader(codec).read(framesOf(codec)[30]), /no dictionary 1/);
  });

  test(`hostile frames of ${codec} are refused for what is wrong with them`, () => {
    const abc = '27014d02';
    for (const [hex, error] of [
      ['', /cut short/],
      ['0d0e0101', /head/],
      ['10', /head/],
      ['810e', /head/],
      ['120e', /head/],
      [`01${'80'.repeat(8)}`, /more than 8/],
      ['018080808080808010', /2\^53/],
      ['018080808040', /lane/],
      ['110e09010078', /no dictionary 9/],
      [`910e0901010041${abc}`, /ranges/],
      [`910e09010200010001${abc}`, /ranges/],
      [`910e0901010003${abc}`, /message 3/],
      [`910e0901010001${abc}`, /another/],
      [`910e0901010002${abc}017f`, /before 0/],
      ['410e03000278', /cut short/],
      ['210e0300ffff', /cut short|no such block/],
      ['820e090300', /empty/],
      [`020e0300${'78'.repeat(16385)}`, /more earlier/],
    ]) {
      const reads = reader(codec);
      for (const told of ['010e010a6162', '010e021463']) assert.equal(reads.read(bytes(told)).length, 1);
      assert.throws(() => reads.read(bytes(hex)), error, hex.slice(0, 40));
    }
  });

  test(`blocks and lanes of ${codec} are read up to their maxima and not beyond`, () => {
    const x = Buffer.alloc(100, 'x');
    const frame = (lane, head, block) => Uint8Array.from([head, lane, 1, 1, ...block]);
    const packed = codec === 'lz4' ? [0x1f, 0x78, 1, 0, 0x4b, 0x50, ...x.subarray(95)] : deflateRawSync(x);
    for (const [head, block] of [
      [1, x],
      [0x21, packed],
    ]) {
      assert.equal(reader(codec, 100).read(frame(2, head, block))[0].payload.length, 100);
      assert.throws(() => reader(codec, 99).read(frame(2, head, block)), /too large|100 bytes/);
    }
    const reads = reader(codec);
    for (const lane of [0, 1, 2, 0]) reads.read(frame(lane, 1, x));
    assert.throws(() => reads.read(frame(3, 1, x)), /lane 3/);
  });

  test(`damaged frames of ${codec} give messages or an error and nothing else`, () => {
    let state = 7;
    const chance = (most) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * most);
    };
    const frames = framesOf(codec).slice(0, 40);
    let refused = 0;
    for (let n = 0; n < 300; n++) {
      const reads = reader(codec, 4096);
      for (const frame of frames) {
        const damaged = frame.slice();
        if (!chance(10)) damaged[chance(damaged.length)] ^= 1 << chance(8);
        let told;
        try {
          told = reads.read(damaged);
        } catch (error) {
          assert.match(error.message, /^a frame with a dictionary: /);
          refused++;
          break;
        }
        assert.ok(told.reduce((sum, one) => sum + one.payload.length, 0) <= 4096);
      }
    }
    assert.ok(refused > 30, `${refused}`);
  });
}

test('every kind of deflate block is read', () => {
  let state = 1;
  const noise = Buffer.from(Array.from({ length: 5000 }, () => (state = (Math.imul(state, 69069) + 1) >>> 0) >>> 24));
  const text = Buffer.from(Array.from({ length: 3000 }, (_, n) => `${n * n},`).join(''));
  for (const plain of [noise, text, Buffer.alloc(3000, 'ab'), Buffer.from('x')])
    for (const options of [{ level: 0 }, { level: 1 }, { level: 9 }, { strategy: constants.Z_FIXED }]) {
      const frame = Uint8Array.from([0x21, 14, 1, 1, ...deflateRawSync(plain, options)]);
      assert.deepEqual(Buffer.from(reader('deflate').read(frame)[0].payload), plain);
      assert.throws(() => reader('deflate').read(Uint8Array.from([...frame, 0])), /behind the end/);
      assert.throws(() => reader('deflate').read(frame.subarray(0, -1)), /cut short|no such/);
    }
});
