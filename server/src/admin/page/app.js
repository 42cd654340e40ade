// Job: the page: hands what comes to what holds it, and that to what shows it, once a second.
// Knows: all of them. Must never know: the protocol, pixels.

import { Address } from '../../page/ui/address.js';
import { readColours } from '../../page/ui/canvas.js';
import { $, setText, span } from '../../page/ui/dom.js';
import { themeSwitch } from '../../page/ui/theme.js';
import { Clients } from './clients.js';
import { Detail } from './detail.js';
import { Feed } from './feed.js';
import { Gaps } from './gaps.js';
import { listen } from './keys.js';
import { showLanes } from './lanes.js';
import { LinkState } from './link-state.js';
import { Model } from './model.js';
import { closeClient, drain } from './orders.js';
import { Tail } from './tail.js';
import { RATES, TailView } from './tail-view.js';
import { explainAll } from './tooltip.js';
import { Topics } from './topics.js';
import { Vitals } from './vitals.js';

const SPANS = { '10m': 600_000, '2h': 7_200_000, '24h': 86_400_000 };
const SPAN_LEAST_MS = 120_000;
const SORTS = ['lag', 'work'];
const TAIL_EVERY_MS = 200;
/** Paths that are folded: what a URL can hold. */
const CLOSED_MAX = 64;

const address = new Address({
  sort: 'lag',
  client: '',
  find: '',
  span: '10m',
  tail: '',
  rate: '20',
  closed: '',
  theme: '',
});
const model = new Model();
const tail = new Tail();

const select = (id) => address.set({ client: address.get('client') === id ? '' : id });
const follow = (topic) => address.set({ tail: topic });
const clients = new Clients({ rows: $('clients'), onSelect: select, onClose: closeClient });
const detail = new Detail({ onClose: closeClient, onLeave: () => address.set({ client: '' }), onFollow: follow });
const gaps = new Gaps((id) => address.set({ client: id }));
const topics = new Topics({ onFollow: follow, onFold: fold });
const tailView = new TailView(tail, address);
const vitals = new Vitals();
const linkState = new LinkState(() => feed.open());

const url = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;
const feed = new Feed({
  url,
  on: {
    sys(topic, data) {
      linkState.heard();
      model.take(topic, data);
      if (topic === '$sys/shards' || topic === '$sys/gaps') showSoon();
    },
    state: (state) => linkState.take(state),
    welcome: ({ server }) => setText($('server'), server),
    refused: ({ message }) => linkState.refuse(message),
    tail: (message) => tail.take(message),
    tailGap: (gap) => tail.takeGap(gap),
    tailRefused: ({ message }) => (tailView.refusal = message),
    value: (message) => topics.takeValue(message),
  },
});

// ---- state in the URL ----

const closed = () => new Set(address.get('closed').split(',').filter(Boolean).slice(0, CLOSED_MAX));

function fold(path) {
  const paths = closed();
  if (!paths.delete(path)) paths.add(path);
  address.set({ closed: [...paths].slice(-CLOSED_MAX).join(',') });
}

let followed = null;
function followAddress() {
  const wanted = `${address.get('tail')} ${address.get('rate')}`;
  if (wanted === followed) return;
  followed = wanted;
  tailView.begin(address.get('tail'));
  feed.follow(address.get('tail'), RATES[address.oneOf('rate', Object.keys(RATES))]);
}

function pressed(group, value) {
  for (const button of $(group).children) button.setAttribute('aria-pressed', String(button.value === value));
}

for (const [group, name] of [
  ['sorts', 'sort'],
  ['spans', 'span'],
])
  $(group).addEventListener('click', (event) => event.target.value && address.set({ [name]: event.target.value }));
$('find').addEventListener('input', (event) => address.set({ find: event.target.value }));
$('drain').addEventListener('click', drain);
address.onChange(() => {
  followAddress();
  show();
});

// ---- showing ----

function show() {
  const endMs = model.shards?.at_ms ?? Date.now();
  const spanMs = shownSpan(endMs);
  const sort = address.oneOf('sort', SORTS);
  const words = address.get('find');
  if (document.activeElement !== $('find')) $('find').value = words;
  pressed('sorts', sort);
  pressed('spans', address.oneOf('span', Object.keys(SPANS)));
  const id = address.get('client');
  const shown = clients.show(model.clientsBy(sort), model.clientTrails, { selected: id, words });
  showClientsHead(sort, shown, words);
  detail.show(id, model.clientOf(id), model.clientTrails.get(id)?.trail);
  showLanes(model.lanes, { words, onFollow: follow });
  gaps.show(model, { endMs, spanMs, words });
  const list = model.topics?.topics ?? [];
  topics.show(list, model.topicTrails, { closed: closed(), followed: address.get('tail'), words });
  setText($('topics-count'), model.topics ? `the busiest ${list.length} of ${model.topics.total}` : '');
  tailView.offer(list.map(({ topic }) => topic));
  vitals.show(model, { endMs, spanMs });
  const { shards } = model;
  setText(
    $('about'),
    shards ? `up ${span(shards.uptime_s ?? 0)} · ${shards.driver} · ${shards.shards?.length ?? 0} shards` : '',
  );
}

/** As wide as was chosen, but no wider than there is something to see, if that is little. */
function shownSpan(endMs) {
  const wanted = SPANS[address.oneOf('span', Object.keys(SPANS))];
  const known = endMs - (model.firstMs ?? endMs);
  return wanted === SPANS['10m'] ? Math.min(wanted, Math.max(SPAN_LEAST_MS, known)) : wanted;
}

function showClientsHead(sort, shown, words) {
  const { clients: said } = model;
  const what =
    sort === 'lag' ? `${said?.behind ?? 0} of ${said?.total ?? 0} are behind` : `the costliest of ${said?.total ?? 0}`;
  setText($('clients-count'), said ? what : 'nothing is known yet');
  $('clients-empty').hidden = shown > 0;
  const reason = words
    ? 'No client that the filter lets through'
    : sort === 'lag'
      ? 'Nobody is behind'
      : 'Nobody costs anything';
  setText($('clients-empty'), said ? reason : 'Waiting for the first figures');
}

// What comes together is shown together, and no more often than a screen is.
let isSoon = false;
function showSoon() {
  if (isSoon) return;
  isSoon = true;
  requestAnimationFrame(() => {
    isSoon = false;
    show();
  });
}

explainAll();
themeSwitch(
  $('theme'),
  (theme) => {
    readColours();
    if (address.get('theme') !== '' || theme !== 'auto') address.set({ theme });
    else show();
  },
  address.get('theme'),
);
followAddress();
setInterval(() => linkState.show(), 500);
setInterval(() => {
  tailView.show();
  feed.want(topics.seen);
}, TAIL_EVERY_MS);
addEventListener('resize', showSoon);

listen({
  '/': () => $('find').focus(),
  '?': () => $('help').showModal(),
  l: () => address.set({ sort: 'lag' }),
  w: () => address.set({ sort: 'work' }),
  j: () =>
    ($('clients').contains(document.activeElement)
      ? document.activeElement.nextElementSibling
      : $('clients').firstElementChild
    )?.focus(),
  k: () =>
    ($('clients').contains(document.activeElement)
      ? document.activeElement.previousElementSibling
      : $('clients').lastElementChild
    )?.focus(),
  c() {
    const client = document.activeElement?.client ?? model.clientOf(address.get('client'));
    if (client) closeClient(client);
  },
  t: () => $('tail-topic').focus(),
  h: () => tailView.hold(!tail.isHeld),
  1: () => address.set({ span: '10m' }),
  2: () => address.set({ span: '2h' }),
  3: () => address.set({ span: '24h' }),
  Escape: () => address.set({ client: '' }),
});

// For tests and the curious.
window.fanwire = { model, tail, topics };
