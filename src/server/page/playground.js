// One panel for each of the five capabilities.

import { chatPanel } from "./chat.js";
import { comparePictures, compareTexts } from "./compare.js";
import { h, place } from "./dom.js";
import { drawPanel } from "./draw.js";
import { lookPanel } from "./look.js";
import { apiKey } from "./server.js";

const PANELS = [
  { id: "chat", title: "Chat", capability: "text-to-text", make: chatPanel },
  { id: "texts", title: "Texts", capability: "text-embedding", make: compareTexts },
  { id: "pictures", title: "Pictures", capability: "image-embedding", make: comparePictures },
  { id: "look", title: "Look", capability: "vision", make: lookPanel },
  { id: "draw", title: "Draw", capability: "text-to-image", make: drawPanel },
];

export function openPlayground() {
  const list = h("div.tabs", { role: "tablist", "aria-label": "What to try" });
  const parts = PANELS.map((panel) => {
    const made = panel.make();
    const none = h("p.empty", { hidden: true }, `No model of ${panel.capability} is configured: give the server one, and it can be tried here.`);
    const tab = h("button", { type: "button", role: "tab", id: `tab-${panel.id}`, "aria-controls": `panel-${panel.id}` }, panel.title);
    const element = h("div", { role: "tabpanel", id: `panel-${panel.id}`, "aria-labelledby": tab.id }, none, made.element);
    return Object.assign(panel, { tab, element, none, made });
  });
  const choose = (chosen, focus) => {
    for (const { tab, element } of parts) {
      const is = tab === chosen.tab;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
      element.hidden = !is;
    }
    if (focus) chosen.tab.focus();
  };
  for (const [index, part] of parts.entries()) {
    part.tab.addEventListener("click", () => choose(part));
    part.tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: parts.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(parts.at(to % parts.length), true);
    });
    list.append(part.tab);
  }
  choose(parts[0]);
  place("playground-body").append(list, ...parts.map(({ element }) => element));
}

/// Offers the models that there are, and shows panels how their own requests go.
export function showModels(frame) {
  place("key-button").textContent = apiKey.get() ? "API key ✓" : "API key";
  for (const { capability, made, none } of PANELS) {
    const pool = frame.pools.find(({ name }) => name === capability);
    const keys = (pool?.keys ?? []).map(({ key }) => key);
    made.offer(keys);
    none.hidden = keys.length > 0;
    made.element.hidden = keys.length === 0;
    made.watch?.(frame.requests);
  }
}
