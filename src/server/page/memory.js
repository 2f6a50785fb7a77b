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
  const held = byModel(memory.holders);
  const whole = Math.max(memory.limit, 1);
  say(total, `${bytes(memory.reserved)} of ${bytes(memory.limit)} reserved`);
  say(free, `${bytes(memory.free)} free`);
  drawStack(bar, held.map(({ label, bytes: size, hue }) => ({ share: size / whole, hue, title: `${label}: ${bytes(size)}` })));
  bar.setAttribute("aria-label", `${bytes(memory.reserved)} of ${bytes(memory.limit)} reserved by ${held.length} models`);
  const rows = held.length ? held : [{ nobody: true }];
  keep(list, rows, (row) => (row.nobody ? "" : `=${row.label}`), line, (element, row) => {
    if (row.nobody) return;
    say(element.size, `${bytes(row.bytes)} · ${((100 * row.bytes) / whole).toFixed(1)} %`);
    say(element.parts, [...row.parts].map(([part, size]) => `${part} ${bytes(size)}`).join(", "));
  });
}

/// What each model holds, weights and workers together. A holder's label is its pool, its key and what of it.
function byModel(holders) {
  const models = new Map();
  for (const { label, bytes: size } of holders) {
    const [, pool, key, part] = label.match(/^([^/]*)\/(.*?)(?: (weights|worker))?$/s) ?? [, "", label];
    const model = models.get(`${pool}/${key}`) ?? { label: `${pool}/${key}`, pool, key, bytes: 0, parts: new Map() };
    model.bytes += size;
    model.parts.set(part ?? "other", (model.parts.get(part ?? "other") ?? 0) + size);
    models.set(model.label, model);
  }
  for (const label of models.keys()) if (!hues.has(label)) hues.set(label, hues.size % HUES);
  return [...models.values()]
    .map((model) => ({ ...model, hue: hues.get(model.label) }))
    .sort((a, b) => b.bytes - a.bytes);
}

function line(row) {
  if (row.nobody) return h("li.empty", {}, "Nothing is loaded: the first request to a model loads it.");
  const [size, parts] = [h("span"), h("span")];
  const about = h("p.small.soft", {}, `${row.pool} · `, parts);
  const element = h("li", {}, h(`span.dot.h-${row.hue}`), h("div", {}, h("p.name", {}, row.key), about), size);
  return Object.assign(element, { size, parts });
}
