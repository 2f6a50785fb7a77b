// One thing that a reader starts, watches and may stop.

import { h, say } from "./dom.js";
import { time } from "./figures.js";

/// A button that starts `work(signal, tell)`, one that stops it, and a line that says how it goes. `work` returns
/// what the line says in the end; what it throws is told there too.
export function attempt(title, work, { extra = [] } = {}) {
  const start = h("button.main", { type: "submit" }, title);
  const stop = h("button.stop", { type: "button", hidden: true }, "Stop");
  const note = h("p.note", { role: "status" });
  let running = null;

  const tell = (text, wrong = false) => {
    note.classList.toggle("wrong", wrong);
    say(note, text);
  };
  stop.addEventListener("click", () => running?.abort());

  async function run(event) {
    event?.preventDefault();
    if (running) return;
    running = new AbortController();
    const began = performance.now();
    [start.disabled, stop.hidden] = [true, false];
    tell("Waiting for the answer…");
    try {
      const said = await work(running.signal, tell);
      tell(said ?? `Took ${time((performance.now() - began) / 1000)}.`);
    } catch (error) {
      if (error.name === "AbortError") tell("Stopped.");
      else tell(error.message, true);
    }
    running = null;
    [start.disabled, stop.hidden] = [false, true];
  }

  return { run, note, buttons: h("div.row", {}, start, stop, ...extra), tell };
}

/// A label and its field, which is made with what is given.
export function field(title, element) {
  element.id ||= `field-${++fields}`;
  return h("div", {}, h("label", { for: element.id }, title), element);
}
let fields = 0;

export const number = (value, { min, max, step = 1 }) =>
  h("input", { type: "number", value, min, max, step, inputMode: step < 1 ? "decimal" : "numeric" });

/// A number from a field, or nothing if it is left empty.
export const entered = (input) => (input.value.trim() === "" ? undefined : Number(input.value));

/// A choice among the models of a capability, which `offer` fills and keeps filled.
export function modelChoice() {
  const choice = h("select");
  const offer = (keys) => {
    if (keys.length === choice.options.length && keys.every((key, index) => choice.options[index].value === key)) return;
    const chosen = choice.value;
    choice.replaceChildren(...keys.map((key) => h("option", { value: key }, key)));
    if (keys.includes(chosen)) choice.value = chosen;
  };
  return { choice, offer };
}
