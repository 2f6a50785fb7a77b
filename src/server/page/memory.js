// Who holds how much of the budget.

import { drawStack, stack } from "./charts.js";
import { h, keep, place, say } from "./dom.js";
import { bytes } from "./figures.js";

const HUES = 6;
/// A holder keeps its colour for as long as the page is open.
const hues = new Map();

const total = h("span");
const free = h("span.soft");
const bar = stack();
const list = h("ul.memory-list");

export function openMemory() {
  place("memory-body").append(h("p.memory-total", {}, total, free), bar, list);
  say(total, "Waiting for the first figures");
}

export function showMemory({ memory }) {
  const held = byLabel(memory.holders);
  say(total, `${bytes(memory.reserved)} of ${bytes(memory.limit)} reserved`);
  say(free, `${bytes(memory.free)} free`);
  drawStack(bar, held.map(({ label, bytes: size, hue }) =>
    ({ share: size / Math.max(memory.limit, 1), hue, title: `${label}: ${bytes(size)}` })));
  bar.setAttribute("aria-label", `${bytes(memory.reserved)} of ${bytes(memory.limit)} reserved by ${held.length} holders`);
  const rows = held.length ? held : [{ label: "", nobody: true }];
  keep(list, rows, (row) => (row.nobody ? "" : `=${row.label}`), line, (element, row) => {
    if (!row.nobody) say(element.size, `${bytes(row.bytes)} · ${((100 * row.bytes) / Math.max(memory.limit, 1)).toFixed(1)} %`);
  });
}

function byLabel(holders) {
  const sums = new Map();
  for (const { label, bytes: size } of holders) sums.set(label, (sums.get(label) ?? 0) + size);
  for (const label of sums.keys()) if (!hues.has(label)) hues.set(label, hues.size % HUES);
  const held = [...sums].map(([label, size]) => ({ label, bytes: size, hue: hues.get(label) }));
  return held.sort((a, b) => b.bytes - a.bytes);
}

function line(row) {
  if (row.nobody) return h("li.empty", {}, "Nothing is loaded: the first request to a model loads it.");
  const size = h("span");
  const element = h("li", {}, h("span.dot-line", {}, h(`span.dot.h-${row.hue}`), h("span.name", {}, row.label)), size);
  element.size = size;
  return element;
}
