// A picture from its description.

import { attempt, entered, field, modelChoice, number } from "./attempt.js";
import { h } from "./dom.js";
import { time } from "./figures.js";
import { askJson } from "./server.js";

export function drawPanel() {
  const { choice, offer } = modelChoice();
  const prompt = h("input", { type: "text", value: "a red circle on a white background", required: true });
  const pieces = number(1, { min: 1, max: 10 });
  const steps = number(20, { min: 1, max: 1000 });
  const seed = number("", { min: 0, max: 4294967295 });
  const bar = h("progress", { max: 1, hidden: true, "aria-label": "Steps drawn" });
  const drawn = h("div.drawn", { "aria-live": "polite" });
  let watched = null;

  const { run, note, buttons, tell } = attempt("Draw", async (signal) => {
    const began = performance.now();
    watched = { id: `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`, steps: entered(steps) };
    bar.hidden = false;
    bar.removeAttribute("value");
    const body = {
      model: choice.value, prompt: prompt.value, n: entered(pieces), steps: entered(steps), seed: entered(seed), response_format: "b64_json",
    };
    try {
      const { data, output_format: kind } = await askJson("/v1/images/generations", { body, signal, id: watched.id });
      const took = `${data.length === 1 ? "Drawn" : `${data.length} drawn`} in ${time((performance.now() - began) / 1000)}`;
      drawn.replaceChildren(...data.map(({ b64_json }, index) => figure(`data:image/${kind ?? "png"};base64,${b64_json}`, prompt.value, index)));
      return took;
    } finally {
      watched = null;
      bar.hidden = true;
    }
  });

  /// How far the server is, as the feed tells of the request that is this panel's own.
  const watch = (requests) => {
    const own = watched && requests.find(({ id }) => id === watched.id);
    if (!own) return;
    if (own.tokens) bar.value = Math.min(own.tokens / watched.steps, 1);
    tell(own.tokens ? `Step ${own.tokens} of ${watched.steps}` : "Waiting for a worker…");
  };
  const element = h("form.panel", { onsubmit: run },
    field("Model", choice), field("What to draw", prompt),
    h("div.trio", {}, field("Pictures", pieces), field("Steps", steps), field("Seed (empty: any)", seed)),
    buttons, bar, note, drawn);
  return { element, offer, watch };
}

function figure(url, prompt, index) {
  const shown = h("img", { src: url, alt: prompt });
  shown.addEventListener("load", () => shown.classList.toggle("tiny", shown.naturalWidth <= 128));
  const name = `${prompt.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}-${index + 1}.png`;
  return h("figure", {}, shown, h("figcaption", {}, h("a", { href: url, download: name }, "Save"), ` · ${prompt}`));
}
