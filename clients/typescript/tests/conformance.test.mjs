// Runs the sessions of clients/conformance against the session of this package, without a socket and without a clock.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Runner } from './runner.mjs';

const folder = new URL('../../conformance/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
const names = new Set();

for (const file of files) {
  for (const session of JSON.parse(readFileSync(new URL(file, folder), 'utf8'))) {
    assert.ok(!names.has(session.name), `two sessions are named: ${session.name}`);
    names.add(session.name);
    // Chance decides pauses: at both ends of its range, and between.
    for (const chance of [0.001, 0.5, 0.999])
      test(`${file}: ${session.name} (chance ${chance})`, () => new Runner(session, chance).run());
  }
}

test('the suite is there', () => assert.ok(names.size >= 12, `${names.size} sessions`));

test('a session that says something else fails', () => {
  const sessions = JSON.parse(readFileSync(new URL('resume.json', folder), 'utf8'));
  let planted = 0;
  for (const session of sessions) {
    session.steps.forEach((step, at) => {
      const wrong = plant(step);
      if (!wrong) return;
      planted++;
      const steps = session.steps.with(at, wrong);
      assert.throws(() => new Runner({ ...session, steps }, 0.5).run(), `${session.name}, step ${at}`);
    });
  }
  assert.ok(planted > 20, `${planted} steps were made wrong`);
});

/** A step that expects something else than what is right, or nothing where nothing is expected. */
function plant(step) {
  if (step.sends?.since) return { sends: { ...step.sends, since: {} } };
  if (step.sends) return { sends: { ...step.sends, topics: ['other'] } };
  if (step.connects) return { connects: { url: 'ws://other.example/' } };
  if (step.pauses) return { pauses: [40_000, 50_000] };
  if (step.reports) return { reports: step.reports.slice(1) };
  if (step.account) return { account: step.account.map((lane) => ({ ...lane, delivered: lane.delivered + 1 })) };
  return undefined;
}
