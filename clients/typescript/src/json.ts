// Job: objects of fanwire.json.v1 as text.
// Knows: encodings of payloads. Must never know: topics, numbers, sockets.

import type { Codec, Received, Request } from './types.js';

/** Bytes of what `atob` takes. */
export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function base64Of(bytes: Uint8Array): string {
  let text = '';
  // So many arguments every engine takes.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** A request as text; of `publish`, `kind` and `data` as `encoding` and `data`. */
export function textOf(request: Request): string {
  if (request.type !== 'publish') return JSON.stringify(request);
  const { kind, data, ...rest } = request;
  if (kind === 'text') return JSON.stringify({ ...rest, data: data, encoding: 'text' });
  if (kind === 'binary') return JSON.stringify({ ...rest, data: base64Of(data as Uint8Array), encoding: 'base64' });
  return JSON.stringify({ ...rest, data: data ?? null });
}

/** An object out of text. Throws where it is none. */
export function objectOf(text: string): Received {
  const object = JSON.parse(text) as Received;
  if (typeof object?.type !== 'string') throw new Error('an object without a type');
  if (object.type !== 'message') return object;
  const { topic, priority, seq, time_us: timeUs, data, encoding } = object;
  const head = { type: 'message', topic, priority, seq, timeUs };
  if (encoding === 'text') return { ...head, kind: 'text', data };
  if (encoding === 'base64') return { ...head, kind: 'binary', data: bytesOf(data as string) };
  return { ...head, kind: 'json', data };
}

/** `fanwire.json.v1`. */
export const json: Codec = {
  protocols: ['fanwire.json.v1'],
  encode: textOf,
  decoder: () => ({ decode: (data, take) => take(objectOf(data as string)) }),
};
