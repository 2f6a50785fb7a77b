// Five pools: their keys, their workers' states over time, and the levers.

import { drawStrip, strip } from "./charts.js";
import { h, keep, place, say } from "./dom.js";
import { WINDOW } from "./feed.js";
import { bytes, count, quantile, rate, seconds, since, time } from "./figures.js";
import { ask } from "./server.js";

export const TITLES = {
  "text-embedding": "Text embedding",
  "text-to-text": "Text to text",
  "image-embedding": "Image embedding",
  vision: "Vision",
  "text-to-image": "Text to image",
};
const DRAWING = "text-to-image";
const STATES = ["loading", "ready", "busy", "draining", "failed"];
const body = () => place("pools-body");
/// Each key's histograms of the last minute, oldest first.
const minute = new Map();

export function openPools() {
  place("legend").append(...STATES.map((state) => h("li", {}, h(`span.dot.s-${state}`), state)));
  body().append(h("p.empty", {}, "Waiting for the first figures."));
}

export function showPools(frame, past) {
  const rates = new Map(frame.rates.map((of) => [`${of.capability}/${of.key}`, of]));
  keep(body(), frame.pools, (pool) => pool.name, poolCard, (card, pool) => {
    const busy = `${pool.workers === 1 ? "1 worker" : `${pool.workers} workers`} · ${pool.in_flight} running · ${pool.queue_depth} waiting`;
    say(card.about, pool.running ? busy : "takes no more requests");
    card.none.hidden = pool.keys.length > 0;
    keep(card.keys, pool.keys, (key) => `=${key.key}`, (key) => keyRow(pool.name, key), (row, key) => {
      showKey(row, pool.name, key, rates.get(`${pool.name}/${key.key}`), frame, past);
    });
  });
}

function poolCard(pool) {
  const [about, keys] = [h("span.small.soft"), h("div")];
  const none = h("p.empty", {}, "No model of this kind is configured.");
  const card = h("section.card.pool", {}, h("div.heading", {}, h("h3", {}, TITLES[pool.name] ?? pool.name), about), none, keys);
  return Object.assign(card, { about, keys, none });
}

const FIGURES = [
  ["Waiting", (key) => `${count(key.queue_used)} of ${key.queue_size ? count(key.queue_size) : "any number"}`],
  ["Running", (key) => count(key.in_flight)],
  ["Requests", (_, of) => `${rate(of?.requests_per_second ?? 0)}/s`],
  ["Tokens", (_, of) => `${rate(of?.tokens_per_second ?? 0)}/s`, (key, capability) => capability !== DRAWING && key.first_event_time.count > 0],
  ["Memory", (key) => bytes(key.memory)],
  ["Done", (key) => count(key.completed)],
  ["Failed", (key) => count(key.failed), (key) => key.failed > 0],
  ["Canceled", (key) => count(key.canceled), (key) => key.canceled > 0],
  ["Refused", (key) => count(key.rejected), (key) => key.rejected > 0],
];

const TIMES = [
  ["queue_time", () => "Wait"],
  ["first_event_time", (capability) => (capability === DRAWING ? "First step" : "First token")],
  ["run_time", () => "Run"],
];
const SHARES = [0.5, 0.95, 0.99];

function keyRow(capability, { key }) {
  const badges = h("span.row");
  const figures = FIGURES.map(([title, text, when]) => {
    const shown = h("dd");
    return { text, when, shown, element: h("div", {}, h("dt", {}, title), shown) };
  });
  const times = TIMES.map(([name, title]) => {
    const cells = SHARES.map(() => h("td"));
    return { name, cells, element: h("tr", {}, h("th", { scope: "row" }, title(capability)), ...cells) };
  });
  const [workers, note] = [h("div"), h("p.note", { role: "status", hidden: true })];
  const idle = h("p.empty.small", {}, "No worker yet: the first request loads the model.");
  const axis = h("p.axis", { "aria-hidden": "true" }, h("span", {}, `${WINDOW / 60} min ago`), h("span", {}, "now"));
  const levers = leversOf(capability, key, note);
  const told = h("div.told", {}, h("dl.figures", {}, ...figures.map(({ element }) => element)), latencies(times));
  const row = h("article.key", { "aria-label": `${key}, ${TITLES[capability] ?? capability}` },
    h("div.heading", {}, h("div.row", {}, h("h4.name", {}, key), badges), levers.element),
    note, idle, workers, axis, told);
  return Object.assign(row, { badges, figures, times, workers, axis, idle, levers, told });
}

function latencies(times) {
  const head = h("tr", {}, h("td"), ...SHARES.map((share) => h("th", { scope: "col" }, `p${share * 100}`)));
  return h("table.times", {}, h("caption.unseen", {}, "Latency, at most"), h("thead", {}, head), h("tbody", {}, ...times.map(({ element }) => element)));
}

/// Buttons that steer one key. Each asks the server, and what that says stands beside them.
function leversOf(capability, key, note) {
  const steer = (verb, doing, more = {}) => async (event) => {
    const button = event.currentTarget;
    button.disabled = button.asks = true;
    const tell = (text, kind) => {
      note.className = kind;
      note.hidden = !text;
      say(note, text);
    };
    tell(doing, "note");
    try {
      await ask(`/admin/${verb}`, { body: { model: key, capability, ...more } });
      tell("", "note");
    } catch (error) {
      tell(error.message, "note wrong");
    }
    button.disabled = button.asks = false;
  };
  const button = (text, label, onclick) => h("button", { type: "button", "aria-label": `${label} ${key}`, onclick }, text);
  const load = button("Load", "Load", steer("load", "Loading…"));
  const unload = button("Unload", "Unload", steer("unload", "Finishing what runs, then unloading…"));
  const pin = button("Pin", "Pin", (event) => steer(pin.pinned ? "unpin" : "pin", "")(event));
  const resize = (by) => (event) => steer("resize", "", { workers: element.workers + by })(event);
  const fewer = button("−", "One worker fewer for", resize(-1));
  const more = button("+", "One worker more for", resize(1));
  fewer.classList.add("square");
  more.classList.add("square");
  const size = h("span.small.soft");
  const element = h("div.row", {}, fewer, size, more, load, unload, pin);
  return { element, load, unload, pin, fewer, more, size };
}

function showKey(row, capability, key, of, frame, past) {
  const recent = lastMinute(`${capability}/${key.key}`, key, frame.at);
  const live = key.workers.filter((worker) => worker.state !== "stopped" && worker.state !== "failed").length;
  showBadges(row.badges, key);
  for (const { text, when, shown, element } of row.figures) {
    element.hidden = when ? !when(key, capability) : false;
    say(shown, text(key, of));
  }
  for (const { name, cells, element } of row.times) {
    element.hidden = !recent[name].count;
    for (const [index, cell] of cells.entries()) say(cell, `≤ ${time(quantile(recent[name], SHARES[index]))}`);
  }
  row.told.hidden = key.workers.length === 0 && key.completed + key.failed + key.canceled + key.rejected === 0;
  row.told.lastElementChild.hidden = row.times.every(({ element }) => element.hidden);
  row.idle.hidden = key.workers.length > 0;
  row.axis.hidden = key.workers.length === 0;
  keep(row.workers, key.workers, (worker) => String(worker.id), workerRow, (element, worker) => {
    showWorker(element, capability, worker, frame, past);
  });
  const { load, unload, pin, fewer, more, size, element } = row.levers;
  element.workers = live;
  [load.hidden, unload.hidden] = [live > 0, live === 0];
  [fewer.hidden, more.hidden, size.hidden] = [live === 0, live === 0, live === 0];
  fewer.disabled = Boolean(fewer.asks) || live <= 1;
  say(size, live === 1 ? "1 worker" : `${live} workers`);
  pin.pinned = key.pinned;
  pin.setAttribute("aria-pressed", String(key.pinned));
  say(pin, key.pinned ? "Pinned" : "Pin");
}

function showBadges(badges, key) {
  const told = [];
  if (key.circuit_open_for) told.push(["badge.bad", `rests ${time(seconds(key.circuit_open_for))} after failures`]);
  if (key.pinned) told.push(["badge.on", "pinned"]);
  if (key.rate_limiter) told.push(["badge", "rate limited"]);
  told.push(loaded(key));
  keep(badges, told, ([kind, text]) => kind + text, ([kind, text]) => h(`span.${kind}`, {}, text), () => {});
}

function loaded(key) {
  if (key.ready) return ["badge.on", "loaded"];
  return ["badge", key.workers.some(({ state }) => state === "loading") ? "loading" : "not loaded"];
}

function workerRow(worker) {
  const [chart, state] = [strip(), h("span.state")];
  return Object.assign(h("div.worker", {}, h("span.name", { title: worker.name }, `worker-${worker.id}`), chart, state), { chart, state });
}

function showWorker(row, capability, worker, frame, past) {
  const id = `${capability}/${worker.id}`;
  const seen = past.filter((sample) => sample.workers[id]).map((sample) => [sample.at, sample.workers[id]]);
  const busy = seen.filter(([, state]) => state === "busy").length;
  drawStrip(row.chart, seen, frame.at);
  row.chart.setAttribute("aria-label", `${worker.name}: busy in ${busy} of the last ${seen.length} seconds, now ${worker.state}`);
  const idle = worker.state === "ready" && seconds(worker.idle) >= 1;
  say(row.state, idle ? `idle ${time(Math.floor(seconds(worker.idle)))}` : worker.state);
}

/// A key's durations of the last minute, or all of them where the last minute has none.
function lastMinute(id, key, at) {
  const times = { run_time: key.run_time, queue_time: key.queue_time, first_event_time: key.first_event_time };
  const looks = minute.get(id) ?? [];
  looks.push({ at, times });
  while (at - looks[0].at > 60_000) looks.shift();
  minute.set(id, looks);
  return Object.fromEntries(Object.entries(times).map(([name, now]) => {
    const recent = since(now, looks[0].times[name]);
    return [name, recent.count > 0 ? recent : now];
  }));
}
