// Job: as much of `node:assert/strict` as the runner of sessions uses, for browsers.

/** One text for equal values, whatever the order of keys. */
function written(value) {
  return JSON.stringify(value, (_, one) =>
    one && typeof one === 'object' && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  );
}

function ok(holds, message) {
  if (!holds) throw new Error(message ?? 'it does not hold');
}

export default {
  ok,
  equal: (got, want, message) => ok(Object.is(got, want), `${message ?? ''} ${String(got)} is not ${String(want)}`),
  deepEqual: (got, want, message) =>
    ok(written(got) === written(want), `${message ?? ''} ${written(got)} is not ${written(want)}`),
};
