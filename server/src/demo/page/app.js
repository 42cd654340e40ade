// Job: the page: which reading goes to which plot, figures, alarms, themes.
// Knows: the rovers' topics and their readings. Must never know: the protocol (stream.js), pixels (plots.js).

import { Link } from '/link.js';
import * as plots from '/plots.js';

/** Microseconds since 1970 by this machine's clock, finer than Date.now(). */
const nowUs = () => (performance.timeOrigin + performance.now()) * 1000;
const $ = (id) => document.getElementById(id);
const WINDOW_US = 10e6;
const TRACK_POINTS = 900; // a minute and a half at 10 Hz
const ALARMS_KEPT = 60;
// Drawn a little late, so that the newest sample is always there already.
const DRAW_LATE_US = 40_000;

const SIGNALS = [
  { name: 'up', title: 'Vertical acceleration', unit: 'm/s²', field: 'acc', column: 2, least: 6 },
  { name: 'forward', title: 'Forward acceleration', unit: 'm/s²', field: 'acc', column: 0, least: 3 },
  { name: 'left', title: 'Lateral acceleration', unit: 'm/s²', field: 'acc', column: 1, least: 3 },
  { name: 'pitch', title: 'Pitch rate', unit: '°/s', field: 'gyro', column: 4, least: 20 },
  { name: 'yaw', title: 'Yaw rate', unit: '°/s', field: 'gyro', column: 5, least: 20 },
];

const settings = await (await fetch('/settings.json')).json();

class RoverView {
  constructor(number) {
    this.number = number;
    this.colour = `rover-${number}`;
    this.label = `Rover ${number}`;
    this.imu = new plots.Ring(2400, 6);
    this.points = [];
    this.heading = 0;
    this.hasFix = true;
    this.currents = [0, 0, 0, 0, 0, 0];
    this.shown = [0, 0, 0, 0, 0, 0];
    this.ranges = SIGNALS.map((signal) => new plots.Range(signal.least));
    this.six = [0, 0, 0, 0, 0, 0];
    this.battery = null;
  }
}
const rovers = Array.from({ length: settings.rovers }, (_, n) => new RoverView(n + 1));

// ---- readings ----

const takers = {
  imu(rover, data, timeUs) {
    const { acc, gyro } = data;
    for (let i = 0; i < 3; i++) {
      rover.six[i] = acc[i];
      rover.six[3 + i] = gyro[i];
    }
    rover.imu.push(timeUs, rover.six);
  },
  gps(rover, data) {
    rover.points.push([data.east, data.north]);
    if (rover.points.length > TRACK_POINTS) rover.points.shift();
    rover.heading = data.heading;
    rover.hasFix = data.fix;
  },
  motors(rover, data) {
    rover.currents = data.amperes;
  },
  battery(rover, data) {
    rover.battery = data;
    showBattery(rover);
  },
  alarm(rover, data, timeUs, priority) {
    showAlarm(rover, data, timeUs, priority);
  },
};

function onMessage(topic, priority, data, timeUs) {
  const [, number, what] = topic.split('/');
  const rover = rovers[number - 1];
  if (rover) takers[what]?.(rover, data, timeUs, priority);
}

// ---- connection ----

const host = settings.host || location.hostname;
$('link-url').textContent = `${host}:${settings.port}`;

// The latest figures; see stream.js.
let stream = { messages: 0, bytes: 0, lost: 0, gaps: 0, unannounced: 0, rttMs: null, latency: null, offsetMs: 0, rate: 0, byteRate: 0, lanes: [] };
const worker = new Worker('/stream.js', { type: 'module' });
const link = new Link({ host, port: settings.port, slowPort: settings.slow_port, choose: (way) => worker.postMessage(way) });
worker.onmessage = ({ data }) => {
  if (data.messages) {
    for (const message of data.messages) onMessage(...message);
  } else if (data.gaps) {
    link.onGaps(data.gaps);
  } else if (data.figures) {
    stream = data.figures;
    link.onFigures(stream);
    // For tests and the curious.
    window.fanwire = stream;
  } else if (data.state) {
    $('link').dataset.state = data.state;
    $('link-state').textContent = data.text;
  } else if (data.welcome) {
    $('k-server').textContent = `${data.welcome.server} · ${settings.driver}`;
  }
};
worker.postMessage({ url: link.url, topics: ['rover/**'], isSlow: false });

// ---- building blocks ----

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const swatch = (rover) => element('i', { class: `swatch r${rover.number}` });

for (const rover of rovers) {
  rover.canvas = element('canvas');
  rover.nowText = element('span', { class: 'now' });
  $('strips').append(element('div', { class: 'strip' }, rover.canvas, element('span', { class: 'name' }, swatch(rover), rover.label), rover.nowText));
  $('legend').append(element('span', {}, swatch(rover), rover.label));
}

let signal = 0;
const choices = SIGNALS.map((s, n) => {
  const button = element('button', { type: 'button', title: `${s.title}, ${s.unit}` }, s.name);
  button.addEventListener('click', () => choose(n));
  $('signal').append(button);
  return button;
});
function choose(n) {
  signal = n;
  choices.forEach((button, i) => button.setAttribute('aria-pressed', String(i === n)));
}
choose(0);
$('motor-limit').textContent = `limit ${settings.motor_amperes_max} A`;

// ---- batteries ----

function svg(tag, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

for (const rover of rovers) {
  const gauge = svg('svg', { class: 'gauge', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const fill = svg('rect', { class: 'fill', width: 0, height: 10 });
  gauge.append(svg('rect', { class: 'back', width: 100, height: 10 }), fill);
  for (const at of [settings.charge_critical, settings.charge_low])
    gauge.append(svg('line', { class: 'mark', x1: at, x2: at, y1: 0, y2: 10, 'vector-effect': 'non-scaling-stroke' }));
  const percent = element('b', {}, '–');
  const detail = element('small', {}, 'waiting');
  const cell = element('div', { class: 'cell' }, element('div', { class: 'row' }, swatch(rover), element('span', {}, rover.label), percent), gauge, detail);
  $('batteries').append(cell);
  rover.batteryParts = { cell, fill, percent, detail };
}

function showBattery(rover) {
  const { percent, volts, amperes, celsius } = rover.battery;
  const { cell, fill, percent: text, detail } = rover.batteryParts;
  cell.dataset.level = percent < settings.charge_critical ? 'critical' : percent < settings.charge_low ? 'low' : 'good';
  fill.setAttribute('width', percent);
  text.textContent = `${percent.toFixed(0)} %`;
  detail.textContent = `${volts.toFixed(1)} V · ${amperes.toFixed(1)} A · ${celsius.toFixed(0)} °C`;
}

// ---- alarms ----

const alarmCounts = {};
function showAlarm(rover, alarm, timeUs, priority) {
  const list = $('alarms');
  list.querySelector('.empty')?.remove();
  const isRaised = alarm.state === 'raised';
  const time = new Date(timeUs / 1000).toTimeString().slice(0, 8);
  const label = isRaised ? priority : 'cleared';
  const row = element(
    'li',
    { class: isRaised && priority === 'critical' ? 'new' : isRaised ? '' : 'cleared', 'data-time': timeUs },
    element('time', {}, time),
    element('span', { class: `chip ${isRaised ? priority : ''}` }, label),
    element('span', { class: 'who' }, swatch(rover), `R${rover.number}`),
    element('span', { class: 'what' }, alarm.text),
  );
  // Priorities overtake each other, and the first ones are each lane's last: the list goes by time.
  const older = [...list.children].find((other) => Number(other.dataset.time) <= timeUs);
  list.insertBefore(row, older ?? null);
  while (list.children.length > ALARMS_KEPT) list.lastChild.remove();
  if (isRaised) {
    alarmCounts[priority] = (alarmCounts[priority] ?? 0) + 1;
    $('alarm-count').textContent = ['critical', 'high'].filter((p) => alarmCounts[p]).map((p) => `${alarmCounts[p]} ${p}`).join(' · ');
  }
}

// ---- figures ----

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const history = new Array(60).fill(0);
const rows = new Map();
const TOPIC_ORDER = { critical: 0, high: 1, normal: 2, low: 3 };

function showFigures() {
  const { rate, byteRate: bytes } = stream;
  $('k-rate').textContent = number.format(rate);
  history.push(rate);
  history.shift();
  plots.spark($('k-rate-line'), history, 'rover-1');
  const isMega = bytes >= 1e6;
  $('k-bytes').textContent = (bytes / (isMega ? 1e6 : 1e3)).toFixed(isMega ? 2 : 0);
  $('k-bytes-unit').textContent = isMega ? 'MB/s' : 'kB/s';
  $('k-total').textContent = `${number.format(stream.messages)} messages, ${(stream.bytes / 1e6).toFixed(1)} MB`;
  const latency = stream.latency;
  if (latency) {
    $('k-p50').textContent = latency.p50.toFixed(latency.p50 < 10 ? 1 : 0);
    $('k-p99').textContent = `99 %: ${latency.p99.toFixed(1)} ms${latency.isEstimated ? ' (clocks differ: estimated)' : ''}`;
  }
  if (stream.rttMs !== null) $('k-rtt').textContent = stream.rttMs.toFixed(1);
  $('k-lost').textContent = number.format(stream.lost);
  $('k-gaps').textContent = stream.gaps ? `${number.format(stream.gaps)} gaps, each announced` : 'no gaps';
  if (stream.unannounced) $('k-gaps').textContent = `${number.format(stream.unannounced)} missing without notice`;
  $('t-gaps').classList.toggle('has-lost', stream.lost + stream.unannounced > 0);
  $('k-topics').textContent = new Set(stream.lanes.map((lane) => lane.topic)).size;
  showTopics();
}

function showTopics() {
  for (const lane of stream.lanes) {
    const key = `${lane.topic} ${lane.priority}`;
    let row = rows.get(key);
    if (!row) {
      const rover = rovers[lane.topic.split('/')[1] - 1];
      const cells = Array.from({ length: 4 }, () => element('td'));
      const name = element('td', { class: 'topic' }, ...(rover ? [swatch(rover)] : []), lane.topic);
      const tr = element('tr', {}, name, element('td', {}, element('span', { class: `chip ${lane.priority}` }, lane.priority)), ...cells);
      row = { tr, cells, sort: `${lane.topic} ${TOPIC_ORDER[lane.priority] ?? 9}` };
      rows.set(key, row);
      const after = [...rows.values()].filter((r) => r.sort > row.sort).sort((a, b) => (a.sort < b.sort ? -1 : 1))[0];
      $('topics').insertBefore(tr, after?.tr ?? null);
    }
    const [rate, bytes, received, lost] = row.cells;
    rate.textContent = lane.rate.toFixed(lane.rate < 20 ? 1 : 0);
    bytes.textContent = (lane.byteRate / 1e3).toFixed(1);
    received.textContent = number.format(lane.messages);
    lost.textContent = number.format(lane.lost);
    lost.classList.toggle('is-lost', lane.lost > 0);
  }
}
setInterval(showFigures, 500);

// ---- themes ----

const THEMES = ['auto', 'dark', 'light'];
const systemIsDark = matchMedia('(prefers-color-scheme: dark)');
let theme = THEMES.includes(localStorage.getItem('theme')) ? localStorage.getItem('theme') : 'auto';
function showTheme() {
  const isDark = theme === 'dark' || (theme === 'auto' && systemIsDark.matches);
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light';
  $('theme').textContent = `Theme: ${theme}`;
  plots.readColours();
}
$('theme').addEventListener('click', () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  localStorage.setItem('theme', theme);
  showTheme();
});
systemIsDark.addEventListener('change', showTheme);
showTheme();

// ---- drawing ----

const view = {};
let frames = 0;
function draw() {
  requestAnimationFrame(draw);
  // Strips at every other frame: thirty times a second is smooth, and half the work.
  if (frames++ % 2 === 1) return;
  const endUs = nowUs() - stream.offsetMs * 1000 - DRAW_LATE_US;
  const shown = SIGNALS[signal];
  for (const rover of rovers) {
    plots.strip(rover.canvas, {
      ring: rover.imu,
      column: shown.column,
      range: rover.ranges[signal],
      colour: rover.colour,
      endUs,
      windowUs: WINDOW_US,
      isLowest: rover === rovers.at(-1),
    });
    const last = rover.imu.last;
    if (last >= 0 && frames % 12 === 1) rover.nowText.textContent = `${rover.imu.columns[shown.column][last].toFixed(1)} ${shown.unit}`;
    for (let i = 0; i < rover.shown.length; i++) rover.shown[i] += (rover.currents[i] - rover.shown[i]) * 0.5;
  }
  plots.bars($('motors'), rovers.map((r) => ({ colour: r.colour, label: r.label, values: r.shown })), settings.motor_amperes_max, 'A');
  plots.map($('map'), rovers, view);
}
requestAnimationFrame(draw);
