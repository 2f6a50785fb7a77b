// A conversation, token by token.

import { attempt, entered, field, modelChoice, number } from "./attempt.js";
import { h } from "./dom.js";
import { rate, time } from "./figures.js";
import { piecesOf } from "./server.js";

/// What an answer took: the wait for its first token, and how fast the rest came.
export function pace() {
  const began = performance.now();
  let [first, last, pieces, tokens] = [0, 0, 0, 0];
  return {
    piece() {
      last = performance.now();
      first ||= last;
      pieces += 1;
    },
    count(usage) {
      tokens = usage?.completion_tokens ?? tokens;
    },
    said(reason) {
      if (!first) return "The answer is empty.";
      const speed = last > first ? ` · ${rate(((tokens || pieces) - 1) / ((last - first) / 1000))} tokens/s` : "";
      const cut = reason === "length" ? " · cut at the most tokens" : "";
      return `${tokens || pieces} tokens · first after ${time((first - began) / 1000)}${speed}${cut}`;
    },
  };
}

/// Streams the answer of `path` to `body` into `element`; returns its text and what to say of it. What has come when
/// it is stopped stays.
export async function stream(path, body, element, signal, tell) {
  const measured = pace();
  const talk = element.closest(".talk");
  let [reason, writes] = [null, false];
  element.classList.add("streaming");
  try {
    const asked = { ...body, stream_options: { include_usage: true } };
    for await (const chunk of piecesOf(path, { body: asked, signal })) {
      const choice = chunk.choices?.[0];
      reason = choice?.finish_reason ?? reason;
      measured.count(chunk.usage);
      const text = choice?.delta?.content ?? choice?.text;
      if (!text) continue;
      if (!writes) tell("Writing…");
      writes = true;
      measured.piece();
      element.append(text);
      if (talk) talk.scrollTop = talk.scrollHeight;
    }
  } finally {
    element.classList.remove("streaming");
    element.normalize();
  }
  return { text: element.textContent, said: measured.said(reason) };
}

export function chatPanel() {
  const { choice, offer } = modelChoice();
  const talk = h("div.talk", { role: "log", "aria-live": "polite", "aria-label": "Conversation", tabIndex: 0 });
  const prompt = h("textarea", { rows: 2, placeholder: "Say something", required: true });
  const most = number(256, { min: 1, max: 100000 });
  const heat = number(0.7, { min: 0, max: 2, step: 0.1 });
  const raw = h("input", { type: "checkbox" });
  const clear = h("button", { type: "button" }, "Clear");
  let messages = [];

  const { run, note, buttons } = attempt("Send", async (signal, tell) => {
    const asked = { role: "user", content: prompt.value };
    const answer = h("div.turn");
    const before = talk.children.length;
    talk.append(h("div.turn.user", {}, asked.content), answer);
    prompt.value = "";
    const limits = { model: choice.value, max_tokens: entered(most), temperature: entered(heat) };
    try {
      if (raw.checked) return (await stream("/v1/completions", { ...limits, prompt: asked.content }, answer, signal, tell)).said;
      const body = { ...limits, messages: [...messages, asked] };
      const { text, said } = await stream("/v1/chat/completions", body, answer, signal, tell);
      messages.push(asked, { role: "assistant", content: text });
      return said;
    } catch (error) {
      if (answer.textContent) {
        if (!raw.checked) messages.push(asked, { role: "assistant", content: answer.textContent });
      } else {
        while (talk.children.length > before) talk.lastElementChild.remove();
        prompt.value = asked.content;
      }
      throw error;
    }
  }, { extra: [clear] });

  clear.addEventListener("click", () => {
    messages = [];
    talk.replaceChildren();
    note.textContent = "";
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (prompt.value.trim()) run();
    }
  });
  const element = h("form.panel", { onsubmit: run },
    h("div.trio", {}, field("Model", choice), field("Most tokens", most), field("Temperature", heat)),
    talk, field("Message (Enter sends, Shift+Enter begins a line)", prompt),
    h("label.inline", {}, raw, "Continue the text as it is, for a model that does not converse"), buttons, note);
  return { element, offer };
}
