// How near two texts or two pictures are, as a model sees them.

import { attempt, field, modelChoice } from "./attempt.js";
import { h, say } from "./dom.js";
import { time } from "./figures.js";
import { pictureField } from "./picture.js";
import { askJson } from "./server.js";

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  return lengths ? dot(a, b) / lengths : 0;
}

/// A panel around two fields; `inputs` returns what is compared, or throws what is missing.
function comparison(fields, inputs) {
  const { choice, offer } = modelChoice();
  const [shown, meter] = [h("strong"), h("meter", { min: 0, max: 1, "aria-label": "Cosine similarity" })];
  const verdict = h("div.verdict", { hidden: true }, h("p", {}, shown, " cosine similarity"), meter);
  const { run, note, buttons } = attempt("Compare", async (signal) => {
    const began = performance.now();
    const body = { model: choice.value, input: inputs(), encoding_format: "float" };
    const { data } = await askJson("/v1/embeddings", { body, signal });
    const [a, b] = data.map(({ embedding }) => embedding);
    const near = cosine(a, b);
    say(shown, near.toFixed(3));
    meter.value = Math.max(near, 0);
    verdict.hidden = false;
    return `${a.length} dimensions each · ${time((performance.now() - began) / 1000)}`;
  });
  const element = h("form.panel", { onsubmit: run }, field("Model", choice), h("div.pair", {}, ...fields), buttons, verdict, note);
  return { element, offer };
}

export function compareTexts() {
  const one = h("textarea", { value: "a red circle on a white background", required: true });
  const other = h("textarea", { value: "a scarlet disc", required: true });
  return comparison([field("One text", one), field("Another", other)], () => [one.value, other.value]);
}

export function comparePictures() {
  const pictures = [pictureField("One picture"), pictureField("Another")];
  return comparison(pictures.map(({ element }) => element), () =>
    pictures.map(({ url, title }) => {
      if (!url()) throw new Error(`${title} is missing: drop one, choose a file, or take a sample.`);
      return { image: url() };
    }));
}
