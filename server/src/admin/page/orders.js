// Job: what an operator has the server do from this page, each after a question.
// Knows: the admin port's orders. Must never know: figures.

import { $, element, setText } from '../../page/ui/dom.js';

/** Asks in a dialog; true where it was meant. */
export function confirmed({ title, text, action }) {
  const dialog = $('ask');
  setText($('ask-title'), title);
  setText($('ask-text'), text);
  setText($('ask-yes'), action);
  return new Promise((resolve) => {
    dialog.returnValue = '';
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
    dialog.showModal();
    $('ask-no').focus();
  });
}

/** Sends an order. What the server says of it is shown; where it is refused, why. */
async function order(path, body, done) {
  try {
    const answer = await fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (answer.ok) return tell(done, false);
    const said = await answer.text();
    tell(`Refused (${answer.status}): ${messageOf(said)}`, true);
  } catch (error) {
    tell(`The server could not be asked: ${error.message}`, true);
  }
}

function messageOf(text) {
  try {
    const { error, message } = JSON.parse(text);
    return String(message ?? error?.message ?? error ?? text).slice(0, 200);
  } catch {
    return text.slice(0, 200);
  }
}

export async function closeClient(client) {
  const who = [client.subject, client.peer].filter(Boolean).join(', ');
  const whose = who ? `Its connection (${who})` : 'Its connection';
  const text = `${whose} is closed with 1012. A well-made client comes back and goes on where it was.`;
  if (await confirmed({ title: `Close client ${client.id}?`, text, action: 'Close it' }))
    await order(`/api/connections/${encodeURIComponent(client.id)}/close`, {}, `Client ${client.id} is being closed`);
}

export async function drain() {
  const text =
    'The server ends. New connections are refused; the others are closed one by one within 30 s, to come back elsewhere.';
  if (await confirmed({ title: 'Drain this server?', text, action: 'Drain and end' }))
    await order('/api/drain', { within_ms: 30_000 }, 'The server drains: this page will lose its connection');
}

const TOLD_MS = 8000;

/** A line that goes by itself. */
export function tell(text, isBad) {
  const line = element('p', { class: isBad ? 'is-bad' : '' }, text);
  $('told').append(line);
  setTimeout(() => line.remove(), TOLD_MS);
  while ($('told').children.length > 3) $('told').firstChild.remove();
}
