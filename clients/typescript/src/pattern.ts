// Job: whether a topic is one of a pattern (PROTOCOL.md, section 1).

/** `*` stands for one level, `**` at the end for one or more; no wildcard stands for the engine's own topics. */
export function matches(pattern: string, topic: string): boolean {
  if (pattern === topic) return true;
  if (topic[0] === '$' || !pattern.includes('*')) return false;
  const want = pattern.split('/');
  const have = topic.split('/');
  return (
    want.every((level, at) =>
      level === '**' && at === want.length - 1
        ? have.length > at
        : level === '*'
          ? at < have.length
          : level === have[at],
    ) &&
    (want.length === have.length || (want.at(-1) === '**' && have.length > want.length))
  );
}
