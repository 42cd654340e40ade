// Job: how long a token lives. Knows: JSON Web Tokens (RFC 7519), unverified: the server verifies them.

/** Milliseconds from `nowMs` until a token expires; `Infinity` where it does not say. */
export function lifetimeMs(token: string, nowMs: number): number {
  try {
    const claims = JSON.parse(atob(token.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))) as { exp?: unknown };
    return typeof claims.exp === 'number' ? claims.exp * 1000 - nowMs : Infinity;
  } catch {
    return Infinity;
  }
}
