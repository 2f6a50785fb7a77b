// The page: one feed, and the panels that it fills.

import { place, say } from "./dom.js";
import { openEvents, showEvents } from "./events.js";
import { follow, useKey } from "./feed.js";
import { seconds, time } from "./figures.js";
import { openMemory, showMemory } from "./memory.js";
import { openOverview, showOverview } from "./overview.js";
import { openPlayground, showModels } from "./playground.js";
import { openPools, showPools } from "./pools.js";
import { openRequests, showRequests } from "./requests.js";
import { apiKey } from "./server.js";

function show(frame, past) {
  say(place("version"), `${frame.version} · up ${time(Math.floor(seconds(frame.uptime)))}`);
  showOverview(frame, past);
  showMemory(frame);
  showPools(frame, past);
  showModels(frame);
  showRequests(frame);
  showEvents(frame);
}

function link(state, why) {
  const [shown, banner] = [place("link"), place("banner")];
  shown.dataset.state = state;
  say(shown, state === "live" ? "live" : "not connected");
  banner.hidden = !why;
  say(banner, why ? `${why} What you see is how it last was.` : "");
}

function askForKey() {
  const dialog = place("key-dialog");
  if (dialog.open) return;
  place("key-field").value = apiKey.get();
  // Who closes it by Escape gives no answer, and not that of last time.
  dialog.returnValue = "";
  dialog.showModal();
}

place("key-button").addEventListener("click", askForKey);
document.addEventListener("key-wanted", askForKey);
place("key-dialog").addEventListener("close", () => {
  const answer = place("key-dialog").returnValue;
  if (answer === "use") useKey(place("key-field").value);
  if (answer === "forget") useKey("");
  place("key-field").value = "";
});

openOverview();
openMemory();
openPools();
openPlayground();
openRequests();
openEvents();
follow(show, link);
