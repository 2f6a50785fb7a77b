// A picture from its description.

import { attempt, entered, field, modelChoice, number } from "./attempt.js";
import { h } from "./dom.js";
import { time } from "./figures.js";
import { piecesOf } from "./server.js";

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
      model: choice.value, prompt: prompt.value, n: entered(pieces), steps: entered(steps), seed: entered(seed), partial_images: 3,
    };
    const done = [];
    try {
      for await (const { type, b64_json, output_format } of piecesOf("/v1/images/generations", { body, signal, id: watched.id })) {
        const url = `data:image/${output_format};base64,${b64_json}`;
        const completed = type === "image_generation.completed";
        if (completed) done.push(figure(url, prompt.value, done.length));
        drawn.replaceChildren(...(completed ? done : [onTheWay(url)]));
      }
      return `${done.length === 1 ? "Drawn" : `${done.length} drawn`} in ${time((performance.now() - began) / 1000)}.`;
    } finally {
      watched = null;
      bar.hidden = true;
    }
  });

  /// How far the server is, as the feed tells of the request that is this panel's own.
  const watch = (requests) => {
    const own = watched && requests.find(({ id }) => id === watched.id);
    if (!own) return;
    if (!own.tokens) return tell("Waiting for a worker…");
    if (watched.steps) bar.value = Math.min(own.tokens / watched.steps, 1);
    tell(watched.steps ? `Step ${own.tokens} of ${watched.steps}` : `Step ${own.tokens}`);
  };
  const element = h("form.panel", { onsubmit: run },
    field("Model", choice), field("What to draw", prompt),
    h("div.trio", {}, field("Pictures", pieces), field("Steps", steps), field("Seed (empty: any)", seed)),
    buttons, bar, note, drawn);
  return { element, offer, watch };
}

function shown(url, alt) {
  const image = h("img", { src: url, alt });
  image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth <= 128));
  return image;
}

function onTheWay(url) {
  return h("figure.partial", {}, shown(url, "The picture on its way"), h("figcaption", {}, "On its way"));
}

function figure(url, prompt, index) {
  const name = `${prompt.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}-${index + 1}.png`;
  return h("figure", {}, shown(url, prompt), h("figcaption", {}, h("a", { href: url, download: name }, "Save"), ` · ${prompt}`));
}
