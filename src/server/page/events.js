// What pools did and why.

import { h, place, say } from "./dom.js";
import { bytes, clock, seconds, time } from "./figures.js";

const KEPT = 200;
const log = h("ol.log", { role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-label": "Events, the newest first", tabIndex: 0 });
const empty = h("p.empty", {}, "Nothing has happened yet. Spawned, evicted, refused and restarted workers appear here, with the reason.");
/// What came while the log was held still.
let held = [];

export function openEvents() {
  place("events-body").append(empty, log);
  place("events-still").addEventListener("change", () => add(held.splice(0)));
}

export function showEvents({ events, history }) {
  if (history) {
    log.replaceChildren();
    held = [];
  }
  if (place("events-still").checked && log.children.length) held = [...held, ...events].slice(-KEPT);
  else add(events);
}

function add(events) {
  if (place("events-still").checked && log.children.length) return;
  log.prepend(...events.map(line).reverse());
  while (log.children.length > KEPT) log.lastElementChild.remove();
  empty.hidden = log.children.length > 0;
}

function line(event) {
  const [what, why, mood] = told(event);
  const often = event.times > 1 ? ` ${event.times} times` : "";
  const text = h("div", {}, h("span.what", {}, what, often), why ? ` ${why}` : "", h("p.small.soft", {}, h("span.name", {}, event.key), ` · ${event.capability}`));
  return h(mood ? `li.${mood}` : "li", {}, h("time", {}, clock(event.at)), text);
}

const SPAWNED = {
  cold_start: "the first request came",
  queue_wait: "the queue would have waited longer than a spawn takes",
  minimum: "fewer than the configured minimum were there",
  resize: "asked for by hand",
  restart: "in place of one that crashed",
};
const EVICTED = {
  idle: "it was idle past its time",
  make_room: "another model needs the memory",
  budget_shrank: "the budget shrank below what is reserved",
  resize: "fewer were asked for",
  unload: "unloaded by hand",
};
const worker = (event) => (event.worker === null || event.worker === undefined ? "" : `worker-${event.worker} `);

/// What happened, why, and whether that is good or bad.
const TOLD = {
  spawned: (e) => [`${worker(e)}spawned`, `because ${SPAWNED[e.reason] ?? e.reason}; ${bytes(e.reserved)} reserved`],
  ready: (e) => [`${worker(e)}ready`, `after ${time(seconds(e.took))}`, "good"],
  spawn_failed: (e) => [`${worker(e)}could not start`, e.error, "bad"],
  spawn_refused: (e) => ["spawn refused", `needs ${bytes(e.need)}, ${bytes(e.free)} free of a budget of ${bytes(e.limit)}`, "bad"],
  evicted: (e) => [`${worker(e)}evicted`, `because ${EVICTED[e.reason] ?? e.reason}; gives back ${bytes(e.bytes)}`],
  stopped: (e) => [`${worker(e)}stopped`, ""],
  crashed: (e) => [`${worker(e)}crashed`, `${e.message}; restarted in ${time(seconds(e.restart_in))}`, "bad"],
  crashed_leaving: (e) => [`${worker(e)}crashed on its way out`, e.message, "bad"],
  stuck: (e) => [`${worker(e)}stuck`, `no step for ${time(seconds(e.since))}`, "bad"],
  circuit_opened: (e) => [`${worker(e)}circuit opened`, `after ${e.failures} failures in a row; rests ${time(seconds(e.rests))}`, "bad"],
  circuit_closed: (e) => [`${worker(e)}circuit closed`, "work flows again", "good"],
  rejected: (e) => ["request rejected", e.code, "bad"],
  supervisor_panicked: (e) => ["supervisor panicked and went on", e.message, "bad"],
};

function told(event) {
  return TOLD[event.event]?.(event) ?? [event.event, ""];
}
