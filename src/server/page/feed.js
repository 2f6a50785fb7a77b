// The server's own account of itself, once a second.

import { apiKey, ask, eventsOf } from "./server.js";

/// How many seconds the page remembers.
export const WINDOW = 180;

/// Calls `tell(frame, past)` with each frame and the samples of the last minutes, for as long as the page is open.
/// `link(state, why)` hears how the connection is.
export async function follow(tell, link) {
  let [past, pause] = [[], 1];
  for (;;) {
    const watch = new AbortController();
    const again = () => watch.abort();
    document.addEventListener("key-changed", again);
    try {
      const response = await ask("/feed", { signal: watch.signal });
      for await (const data of eventsOf(response)) {
        const frame = JSON.parse(data);
        past = (frame.history ?? [...past, frame.sample]).filter((sample) => frame.at - sample.at < WINDOW * 1000);
        pause = 1;
        link("live");
        tell(frame, past);
      }
      link("lost", "The server has closed the feed.");
    } catch (error) {
      // With another key it is tried at once.
      if (watch.signal.aborted) continue;
      link("lost", error.message);
      if (error.status === 401) {
        await new Promise((go) => document.addEventListener("key-changed", go, { once: true }));
        continue;
      }
    } finally {
      document.removeEventListener("key-changed", again);
    }
    await wait(pause);
    pause = Math.min(pause * 2, 15);
  }
}

/// Some seconds, or less when a key was entered.
function wait(secs) {
  return new Promise((go) => {
    const timer = setTimeout(done, secs * 1000);
    function done() {
      clearTimeout(timer);
      document.removeEventListener("key-changed", done);
      go();
    }
    document.addEventListener("key-changed", done);
  });
}

/// Takes a key, or forgets it, and has the feed begin again.
export function useKey(key) {
  apiKey.set(key.trim());
  document.dispatchEvent(new CustomEvent("key-changed"));
}
