// A question about a picture, answered token by token.

import { attempt, entered, field, modelChoice, number } from "./attempt.js";
import { stream } from "./chat.js";
import { h } from "./dom.js";
import { pictureField } from "./picture.js";

export function lookPanel() {
  const { choice, offer } = modelChoice();
  const picture = pictureField("Picture");
  const question = h("input", { type: "text", value: "What is in the image?", required: true });
  const most = number(128, { min: 1, max: 100000 });
  const answer = h("div.answer", { "aria-live": "polite", "aria-label": "Answer", hidden: true });
  const { run, note, buttons } = attempt("Ask", async (signal, tell) => {
    if (!picture.url()) throw new Error("There is no picture yet: drop one, choose a file, or take a sample.");
    answer.replaceChildren();
    answer.hidden = false;
    const content = [{ type: "image_url", image_url: { url: picture.url() } }, { type: "text", text: question.value }];
    const body = { model: choice.value, messages: [{ role: "user", content }], max_tokens: entered(most), temperature: 0 };
    return (await stream("/v1/chat/completions", body, answer, signal, tell)).said;
  });
  const element = h("form.panel", { onsubmit: run },
    h("div.pair", {}, field("Model", choice), field("Most tokens", most)),
    picture.element, field("Question", question), buttons, answer, note);
  return { element, offer };
}
