// Job: what follows the end of a connection (PROTOCOL.md, section 9).
// Knows: close codes. Must never know: sockets, clocks, what a connection is for.

/** The first pause is at most so long, in milliseconds. */
export const PAUSE_MS = 500;
/** No pause is longer, in milliseconds. */
export const PAUSE_MAX_MS = 30_000;
/** The pause after 1012, in milliseconds. */
export const RESTART_PAUSE_MS = 1_000;

// The client is wrong, or what it wants is not to be had: the same again ends the same.
const HOPELESS = [1002, 1003, 1007, 1008, 1009, 1010];

export type Next =
  | { readonly do: 'retry'; readonly afterMs: number }
  | { readonly do: 'token' }
  | { readonly do: 'end'; readonly how: 'normal' | 'refused' | 'unauthorized' };

export interface End {
  /** The close code; 1005 or 1006 where there was none. */
  readonly code: number;
  /** How many attempts have brought nothing but a `welcome`. */
  readonly attempt: number;
  /** The server has said that it would close (`migrate`). */
  readonly isAnnounced: boolean;
  /** There is somebody to ask for another token. */
  readonly canAsk: boolean;
  /** From 0 to 1. */
  readonly chance: number;
}

/** What to do after the end of a connection. Pauses have full jitter, so that many clients do not come back at once. */
export function afterClose({ code, attempt, isAnnounced, canAsk, chance }: End): Next {
  if (code === 1000) return { do: 'end', how: 'normal' };
  if (HOPELESS.includes(code)) return { do: 'end', how: 'refused' };
  if (code === 4401 && !canAsk) return { do: 'end', how: 'unauthorized' };
  if (attempt === 0) {
    if (code === 4401) return { do: 'token' };
    if (isAnnounced) return { do: 'retry', afterMs: 0 };
    if (code === 1012) return { do: 'retry', afterMs: RESTART_PAUSE_MS };
  }
  return { do: 'retry', afterMs: chance * Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** Math.min(attempt, 10)) };
}
