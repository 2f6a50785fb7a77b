// Three small charts. They are SVG and take their colours from the style sheet, so they change with the scheme.

import { svg } from "./dom.js";
import { WINDOW } from "./feed.js";

/// A worker's states, second by second, the newest at the right. `seen` are pairs of a time and a state.
export function drawStrip(chart, seen, now) {
  const spans = [];
  for (const [at, state] of seen) {
    const x = WINDOW - 1 - Math.round((now - at) / 1000);
    const last = spans.at(-1);
    if (last && last.state === state && x - last.end <= 1) last.end = x + 1;
    else spans.push({ state, start: Math.max(x, last?.end ?? 0), end: x + 1 });
  }
  chart.replaceChildren(
    ...spans
      .filter(({ start, end }) => end > start)
      .map(({ state, start, end }) =>
        svg("rect", { x: start, y: 0, width: end - start, height: 1, class: `s-${state}` })),
  );
}

export function strip() {
  return svg("svg", { class: "strip", viewBox: `0 0 ${WINDOW} 1`, preserveAspectRatio: "none", role: "img" });
}

/// A line of values over the same seconds; it always begins at zero.
export function drawSpark(chart, seen, now) {
  const top = Math.max(...seen.map(([, value]) => value), 1e-9) * 1.08;
  const points = seen.map(([at, value]) => [WINDOW - (now - at) / 1000, 30 - (value / top) * 29]);
  if (points.length < 2) return chart.replaceChildren();
  const line = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
  const [first, last] = [points[0][0], points.at(-1)[0]];
  chart.replaceChildren(
    svg("path", { class: "fill", d: `M${first.toFixed(1)} 30L${line}L${last.toFixed(1)} 30Z` }),
    svg("path", { class: "rise", d: `M${line}` }),
  );
}

export function spark() {
  return svg("svg", { class: "spark", viewBox: `0 0 ${WINDOW} 31`, preserveAspectRatio: "none", "aria-hidden": "true" });
}

/// Parts of a whole, side by side. `parts` have `share` (0 to 1), `hue` and `title`.
export function drawStack(chart, parts) {
  let x = 0;
  chart.replaceChildren(
    ...parts.map(({ share, hue, title }) => {
      const width = Math.min(share * 1000, 1000 - x);
      const part = svg("rect", { x, y: 0, width: Math.max(width - 1.5, 0.8), height: 1, class: `h-${hue}` }, svg("title", {}, title));
      x += width;
      return part;
    }),
  );
}

export function stack() {
  return svg("svg", { class: "stack", viewBox: "0 0 1000 1", preserveAspectRatio: "none", role: "img" });
}
