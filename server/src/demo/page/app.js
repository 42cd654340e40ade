// Job: the page: hands what the worker says to those that hold it and those that show it.
// Knows: all of them. Must never know: the protocol (client/), pixels (plots.js, map.js).

import { Address } from '../../page/ui/address.js';
import { readColours } from '../../page/ui/canvas.js';
import { $, span } from '../../page/ui/dom.js';
import { themeSwitch } from '../../page/ui/theme.js';
import { AlarmList } from './alarm-list.js';
import { Alarms } from './alarms.js';
import { Batteries } from './batteries.js';
import { Fleet } from './fleet.js';
import { Link } from './link.js';
import { map } from './map.js';
import { Others } from './others.js';
import { bars } from './plots.js';
import { Strips } from './strips.js';
import { showLanes, showOthers, showOutages, showRovers } from './tables.js';
import { LinkState, showTiles } from './tiles.js';
import { Timeline } from './timeline.js';

/** Drawn a little late, so that the newest sample is always there already. */
const DRAW_LATE_US = 40_000;
const FIGURES_EVERY_MS = 500;
/** How the key of an alarm ends that this page raises by itself. */
const SILENCE = ' silent ';
const TRACK_SHOWN = 900; // a minute and a half at 10 Hz

/** Microseconds since 1970 by this machine's clock, finer than Date.now(). */
const nowUs = () => (performance.timeOrigin + performance.now()) * 1000;

const settings = await (await fetch('/settings.json')).json();
const address = new Address({ link: 'full', signal: 'up', window: '10s', alarms: 'active', level: 'all', find: '' });
const fleet = new Fleet();
const others = new Others();
const alarms = new Alarms();
const alarmList = new AlarmList(alarms, address);
const timeline = new Timeline(address);
const strips = new Strips(address);
const batteries = new Batteries(settings);

const NOTHING = { messages: 0, bytes: 0, rate: 0, byteRate: 0, p50: null, p99: null, gaps: 0 };
let stream = { total: NOTHING, lanes: [], sources: [], offsetMs: 0, lost: 0, missed: 0, recovered: 0, rttMs: null };
let outages = [];

// ---- what the worker says ----

const host = settings.host || location.hostname;
$('link-url').textContent = `${host}:${settings.port}`;
// The admin port is there for this machine alone: elsewhere the link would lead nowhere.
$('dashboard').href = settings.dashboard;
$('dashboard').hidden = !['127.0.0.1', 'localhost', '[::1]'].includes(location.hostname);
$('motor-limit').textContent = `limit ${settings.motor_amperes_max} A`;

const worker = new Worker('/stream.js', { type: 'module' });
const linkState = new LinkState(() => worker.postMessage({ again: true }));
const { port, slow_port: slowPort } = settings;
const link = new Link({ host, port, slowPort, address, choose: (way) => worker.postMessage(way) });

function onMessage([topic, priority, kind, data, timeUs, isHistory]) {
  const nowMs = performance.now();
  const taken = fleet.take({ topic, kind, data, timeUs, nowMs, isHistory });
  if (taken === null) others.take({ topic, kind, data, timeUs, nowMs, isHistory });
  else if (taken.what === 'alarm' && alarms.take(taken.rover.source, data, timeUs, priority) && !isHistory)
    alarmList.sound(priority);
}

/** What ended an alarm may be among what was lost. */
function onGap({ topic, lost }) {
  if (lost > 0 && topic.endsWith('/alarm'))
    alarms.doubt('messages lost since', ({ source }) => topic.startsWith(`${source}/`));
}

const TAKERS = {
  messages: (messages) => messages.forEach(onMessage),
  gaps(gaps) {
    gaps.forEach(onGap);
    link.onGaps(gaps);
  },
  figures(figures) {
    stream = figures;
    link.onFigures(figures);
    // For tests and the curious.
    window.fanwire = figures;
  },
  state: (state) => linkState.take(state),
  welcome: ({ server }) => ($('k-server').textContent = `${server} · ${settings.driver}`),
  outages(list) {
    outages = list;
    const isOlder = ({ key, changedUs }) => changedUs < list[0].fromMs * 1000 && !key.endsWith(SILENCE);
    if (list[0].isAnew) alarms.doubt('from before the server began anew', isOlder);
  },
  refused: (text) => console.warn('fanwire:', text),
};
worker.onmessage = ({ data }) => {
  for (const [what, said] of Object.entries(data)) TAKERS[what]?.(said);
};
worker.postMessage({ url: link.url, topics: ['**'], isSlow: link.isSlow });

// ---- what this page finds out by itself ----

/** A rover that falls silent is an alarm of the page's own; where the link is gone, that is no rover's fault. */
function watchSilence(nowMs) {
  for (const rover of fleet.list) {
    const key = rover.source + SILENCE;
    const isSilent = rover.isStale(nowMs) && linkState.isOpen;
    const isHeld = alarms.active.has(key);
    const atUs = Date.now() * 1000;
    if (isSilent && !isHeld) {
      const text = 'Nothing comes from it';
      if (alarms.raise({ key, source: rover.source, priority: 'high', text, sinceUs: atUs })) alarmList.sound('high');
    } else if (isHeld && !rover.isStale(nowMs)) alarms.clear(key, atUs, 'Readings come again');
  }
}

// ---- drawing ----

themeSwitch($('theme'), readColours);
timeline.watch($('strips'));

let arranged = -1;
setInterval(() => {
  const nowMs = performance.now();
  const rovers = fleet.list;
  watchSilence(nowMs);
  linkState.show();
  showTiles(stream);
  showRovers(rovers, stream.sources, nowMs);
  showLanes(stream.lanes);
  showOthers(others, nowMs);
  showOutages(outages);
  batteries.show(rovers, nowMs);
  alarmList.show();
  if (arranged !== fleet.revision || rovers.some(({ imu }) => imu.lastUs !== null) !== $('strips').hasChildNodes()) {
    strips.arrange(rovers);
    arranged = fleet.revision;
  }
  $('waiting').hidden = rovers.length > 0;
}, FIGURES_EVERY_MS);

/** Outages by the server's clock, as the plots are; with what was not connected from the beginning. */
function bands() {
  const shift = stream.offsetMs * 1000;
  return outages.map(({ fromMs, toMs }) => ({
    fromUs: fromMs * 1000 - shift,
    toUs: (toMs ?? Date.now()) * 1000 - shift,
  }));
}

function tracks(nowMs) {
  const end = timeline.isPaused ? timeline.endUs : Infinity;
  return fleet.list.map((rover) => {
    const points = (end === Infinity ? rover.points : rover.points.filter(([, , timeUs]) => timeUs <= end)).slice(
      -TRACK_SHOWN,
    );
    const age = rover.isLate('gps', nowMs) && end === Infinity ? `${span((nowMs - rover.lastMs) / 1000)} ago` : null;
    return { colour: rover.colour, label: rover.label, heading: rover.heading, hasFix: rover.hasFix, points, age };
  });
}

const view = {};
let frames = 0;
function draw() {
  requestAnimationFrame(draw);
  // At every other frame: thirty times a second is smooth, and half the work.
  if (frames++ % 2 === 1) return;
  const nowMs = performance.now();
  timeline.tick(nowUs() - stream.offsetMs * 1000 - DRAW_LATE_US);
  if (frames % 6 === 1) timeline.show();
  strips.draw(timeline, bands(), nowMs);
  const groups = fleet.list
    .filter(({ currents }) => currents.length > 0)
    .map((rover) => {
      rover.shown = rover.currents.map(
        (ampere, i) => (rover.shown[i] ?? ampere) + (ampere - (rover.shown[i] ?? ampere)) * 0.5,
      );
      return { colour: rover.colour, label: rover.label, values: rover.shown, isLate: rover.isLate('motors', nowMs) };
    });
  bars($('motors'), groups, settings.motor_amperes_max, 'A');
  map($('map'), tracks(nowMs), view);
}
requestAnimationFrame(draw);
