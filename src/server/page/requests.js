// Requests under way, each with a way to end it.

import { h, keep, place, say } from "./dom.js";
import { count, seconds, time } from "./figures.js";
import { ask } from "./server.js";

const list = h("ul");
const empty = h("p.empty", {}, "Nothing is running. Send something from the playground, or from any client.");

export function openRequests() {
  place("requests-body").append(empty, list);
}

export function showRequests({ requests }) {
  empty.hidden = requests.length > 0;
  say(place("requests-count"), requests.length ? `(${requests.length})` : "");
  keep(list, requests, ({ id, began, endpoint, model }) => JSON.stringify([id, began, endpoint, model]), row, (element, request) => {
    const unit = request.endpoint.includes("images") ? "steps" : "tokens";
    const tokens = request.tokens ? ` · ${count(request.tokens)} ${unit}` : "";
    say(element.age, `${time(seconds(request.running_for))}${tokens}${request.canceled ? " · ending" : ""}`);
  });
}

function row(request) {
  const age = h("span");
  const note = h("p.note.wrong", { hidden: true, role: "alert" });
  const button = h("button.stop", { type: "button", "aria-label": `Cancel request ${request.id} to ${request.model}` }, "Cancel");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await ask(`/requests/${encodeURIComponent(request.id)}/cancel`, { method: "POST" });
    } catch (error) {
      button.disabled = false;
      note.hidden = error.status === 404;
      say(note, error.message);
    }
  });
  const about = h("p.small.soft", {}, `${request.endpoint} · ${request.id} · `, age);
  const element = h("li.request", {}, h("div", {}, h("p.name", {}, request.model), about, note), button);
  element.age = age;
  return element;
}
