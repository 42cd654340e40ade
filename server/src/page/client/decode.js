// Job: a `message` object of fanwire.json.v1 as what it carries.
// Knows: encodings. Must never know: topics, numbers.

/**
 * @typedef {object} Message
 * @property {string} topic
 * @property {'critical'|'high'|'normal'|'low'} priority
 * @property {number} seq
 * @property {number} timeUs when it was published, by the server's clock
 * @property {'json'|'text'|'binary'} kind
 * @property {any} data a value, a string, or bytes (Uint8Array)
 */

/** @returns {Message} */
export function decode({ topic, priority, seq, time_us: timeUs, data, encoding }) {
  if (encoding === 'text') return { topic, priority, seq, timeUs, kind: 'text', data };
  if (encoding === 'base64') return { topic, priority, seq, timeUs, kind: 'binary', data: bytesOf(data) };
  return { topic, priority, seq, timeUs, kind: 'json', data };
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}
