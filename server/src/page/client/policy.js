// Job: what follows the end of a connection, by section 9 of PROTOCOL.md.
// Knows: close codes. Must never know: sockets, clocks, what a connection is for.

/** Pauses before another attempt, in milliseconds: the first, and the longest. */
export const PAUSES_MS = [500, 30_000];
/** After 1012, which says: come back. */
export const RESTART_PAUSE_MS = 1000;

/**
 * What is done: connect again after a pause; nothing, for the end was meant (`ended`) or trying again does not help
 * (`refused`); or get a new permission first (`unauthorized`).
 * @typedef {{do: 'retry', afterMs: number} | {do: 'ended'} | {do: 'refused'} | {do: 'unauthorized'}} Next
 */

// The client is wrong, or what it wants is not to be had: the same again ends the same.
const HOPELESS = new Set([1002, 1003, 1007, 1008, 1009, 1010]);

const HINTS = {
  1000: 'the server has ended the connection',
  1001: 'the server shuts down',
  1002: 'the server could not read what this page sent',
  1003: 'the server does not take such messages',
  1006: 'the connection broke',
  1007: 'the server could not read what this page sent',
  1008: 'the server does not allow what this page did',
  1009: 'a message was too large for the server',
  1011: 'the server got no answer to a ping',
  1012: 'the server restarts',
  1013: 'this page reads too slowly, or the server has no room for it',
  4401: 'the permission that this page came in with has ended',
};

/** What a code means, for people. A peer's own text is only shown, never believed. */
export function hintOf(code) {
  return HINTS[code] ?? (code >= 4000 ? `the server has ended the connection (${code})` : HINTS[1006]);
}

/**
 * @param {object} end
 * @param {number} end.code 1006 or 1005 where there was none
 * @param {number} end.attempt how many attempts have failed since something last came
 * @param {boolean} end.isAnnounced the server said that it would close (`migrate`)
 * @param {number} end.chance from 0 to 1
 * @returns {Next}
 */
export function afterClose({ code, attempt, isAnnounced, chance }) {
  if (code === 1000) return { do: 'ended' };
  if (code === 4401) return { do: 'unauthorized' };
  if (HOPELESS.has(code)) return { do: 'refused' };
  if (attempt === 0 && isAnnounced) return { do: 'retry', afterMs: 0 };
  if (attempt === 0 && code === 1012) return { do: 'retry', afterMs: RESTART_PAUSE_MS };
  // Chance in it, so that many pages do not come back in one moment.
  const most = Math.min(PAUSES_MS[1], PAUSES_MS[0] * 2 ** Math.min(attempt, 16));
  return { do: 'retry', afterMs: most / 2 + (most / 2) * chance };
}
