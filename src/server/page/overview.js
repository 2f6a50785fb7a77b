// The figures of now, each with its last minutes.

import { drawSpark, spark } from "./charts.js";
import { h, place, say } from "./dom.js";
import { bytes, count, rate } from "./figures.js";

const TILES = [
  { title: "Requests a second", of: (sample) => sample.requests_per_second, shown: rate, unit: "/s" },
  { title: "Tokens a second", of: (sample) => sample.tokens_per_second, shown: rate, unit: "/s" },
  { title: "Running", of: (sample) => sample.running, shown: count, unit: "requests" },
  { title: "Waiting in queues", of: (sample) => sample.queued, shown: count, unit: "requests" },
  { title: "Workers", of: (sample) => Object.keys(sample.workers).length, shown: count, unit: "threads" },
  { title: "Memory reserved", of: (sample) => sample.reserved, shown: bytes, unit: "" },
].map((tile) => ({ ...tile, figure: h("span"), chart: spark() }));

export function openOverview() {
  place("now").append(
    ...TILES.map(({ title, unit, figure, chart }) =>
      h("dl.tile", {}, h("dt", {}, title), h("dd", {}, figure, h("small", {}, unit && ` ${unit}`)), chart)),
  );
  for (const { figure } of TILES) say(figure, "–");
}

export function showOverview(frame, past) {
  for (const { of, shown, figure, chart } of TILES) {
    say(figure, shown(of(frame.sample)));
    drawSpark(chart, past.map((sample) => [sample.at, of(sample)]), frame.at);
  }
}
