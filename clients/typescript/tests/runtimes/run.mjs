// What Deno and Bun run: run.mjs URL NAME. Says `{"sessions": N, "spoken": […]}`.

import { readdirSync, readFileSync } from 'node:fs';
import { converse, runSessions } from '../everywhere.mjs';

const [url, name] = process.argv.slice(2);
const folder = new URL('../../../conformance/', import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
const sessions = files.flatMap((file) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')));
console.log(JSON.stringify({ sessions: runSessions(sessions), spoken: await converse(url, name) }));
process.exit(0);
