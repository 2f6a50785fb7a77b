// The page as its readers use it, against the server as it ships.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { HOSTILE, launch, open, serve, shoot, troubles } from "./stage.mjs";

const KEY = "a-key-for-the-page-test";
let server, browser, desk;

const keyRow = (page, capability, key) => page.locator(`article.key[aria-label="${key}, ${capability}"]`);
const panel = async (page, id) => {
  await page.click(`#tab-${id}`);
  return page.locator(`#panel-${id}`);
};

before(async () => {
  [server, browser] = await Promise.all([serve(), launch()]);
  desk = await open(browser, server.url);
});

after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0, "the server ends in order");
});

describe("what the pools do", () => {
  it("shows that nothing is loaded before anybody asks", async () => {
    const row = keyRow(desk.page, "Text to text", "shapes-llm");
    await row.getByText("not loaded").waitFor();
    assert.equal(await row.locator(".worker").count(), 0);
    await desk.page.getByText("Nothing is loaded: the first request").waitFor();
  });

  it("shows a worker that is spawned by a first request, live, and says why", async () => {
    const { page } = desk;
    const chat = await panel(page, "chat");
    await chat.locator("select").selectOption("shapes-llm");
    await chat.locator("textarea").fill("tell me a story");
    await chat.getByRole("button", { name: "Send" }).click();
    const row = keyRow(page, "Text to text", "shapes-llm");
    await row.locator(".worker .strip rect").first().waitFor();
    await row.locator(".badge", { hasText: /^loaded$/ }).waitFor();
    const spawned = page.locator("#events li", { hasText: "spawned" }).filter({ hasText: "shapes-llm" });
    assert.match(await spawned.first().textContent(), /because the first request came; [\d.]+ MiB reserved/);
    await page.locator("#memory-body li", { hasText: "shapes-llm" }).waitFor();
  });

  it("shows the latencies of what was served", async () => {
    const times = keyRow(desk.page, "Text to text", "shapes-llm").locator(".times");
    await times.getByRole("row", { name: /First token/ }).waitFor();
    assert.match(await times.textContent(), /p50p95p99Wait≤ .*Run≤ /);
  });

  it("loads, pins, resizes and unloads a key", async () => {
    const row = keyRow(desk.page, "Image embedding", "shapes-clip");
    await row.getByRole("button", { name: "Load shapes-clip", exact: true }).click();
    await row.locator(".badge", { hasText: /^loaded$/ }).waitFor();
    await row.getByRole("button", { name: "Pin shapes-clip" }).click();
    await row.locator(".badge", { hasText: /^pinned$/ }).waitFor();
    await row.getByRole("button", { name: "One worker more for shapes-clip" }).click();
    await row.getByText("2 workers", { exact: true }).waitFor();
    assert.equal(await row.locator(".worker").count(), 2);
    await row.getByRole("button", { name: "Unload shapes-clip" }).click();
    await row.getByText("not loaded").waitFor();
    await desk.page.locator("#events li", { hasText: "because unloaded by hand" }).first().waitFor();
  });

  it("shows a request that runs, and ends it by its button", async () => {
    const { page } = desk;
    const draw = await panel(page, "draw");
    await draw.getByLabel("Pictures").fill("10");
    await draw.getByLabel("Steps", { exact: true }).fill("500");
    await draw.getByRole("button", { name: "Draw" }).click();
    const request = page.locator("#requests .request", { hasText: "shapes-diffusion" });
    await request.waitFor();
    await draw.locator(".note", { hasText: /Step \d+ of 500/ }).waitFor();
    await shoot(page, "light");
    await request.getByRole("button", { name: /^Cancel/ }).click();
    await request.waitFor({ state: "detached" });
    await draw.locator(".note.wrong", { hasText: "canceled" }).waitFor();
    await page.getByText("Nothing is running.").waitFor();
    await draw.getByLabel("Pictures").fill("1");
    await draw.getByLabel("Steps", { exact: true }).fill("20");
  });

  it("takes a name that would do harm as a name", async () => {
    const { page } = desk;
    const name = page.locator("#pools h4", { hasText: HOSTILE });
    assert.equal(await name.first().textContent(), HOSTILE);
    const texts = await panel(page, "texts");
    await texts.locator("select").selectOption(HOSTILE);
    await texts.locator("textarea").first().fill(HOSTILE);
    await texts.getByRole("button", { name: "Compare" }).click();
    await texts.locator(".note", { hasText: "dimensions each" }).waitFor();
    await page.locator("#events li", { hasText: HOSTILE }).first().waitFor();
    assert.equal(await page.evaluate(() => window.harmed), undefined);
    assert.equal(await page.locator("img[src=x]").count(), 0);
  });
});

it("keeps no row of what has gone, also where two are called alike", async () => {
  const rows = await desk.page.evaluate(async () => {
    const { keep } = await import("/page/dom.js");
    const list = document.createElement("ul");
    const show = (...keys) => {
      keep(list, keys, (key) => key, () => document.createElement("li"), (row, key) => (row.textContent = key));
      return [...list.children].map((row) => row.textContent).join("");
    };
    return [show("a", "a"), show("a", "a", "b"), show("b", "a"), show("b"), show()];
  });
  assert.deepEqual(rows, ["aa", "aab", "ba", "b", ""]);
});

describe("the playground", () => {
  it("writes an answer piece by piece", async () => {
    const { page } = desk;
    const chat = await panel(page, "chat");
    await chat.getByRole("button", { name: "Clear" }).click();
    await page.evaluate(() => {
      window.lengths = [];
      const talk = document.querySelector(".talk");
      const look = () => window.lengths.push(talk.lastElementChild?.textContent.length ?? 0);
      new MutationObserver(look).observe(talk, { childList: true, subtree: true, characterData: true });
    });
    await chat.locator("textarea").fill("tell me a story");
    await page.keyboard.press("Enter");
    await chat.locator(".note", { hasText: /\d+ tokens · first after .*tokens\/s/ }).waitFor();
    const lengths = [...new Set(await page.evaluate(() => window.lengths))];
    assert.ok(lengths.length > 5, `it grew to ${lengths}`);
    assert.deepEqual(lengths.toSorted((a, b) => a - b), lengths, "it only grows");
    assert.equal(await chat.locator(".turn").count(), 2);
    assert.equal(await chat.locator(".turn.streaming").count(), 0);
  });

  it("continues a text as it is", async () => {
    const chat = await panel(desk.page, "chat");
    await chat.getByRole("button", { name: "Clear" }).click();
    await chat.getByRole("checkbox", { name: /Continue the text/ }).check();
    await chat.locator("textarea").fill("one two three");
    await chat.getByRole("button", { name: "Send" }).click();
    await chat.locator(".note", { hasText: /\d+ tokens/ }).waitFor();
    assert.ok((await chat.locator(".turn").last().textContent()).length > 0);
    await chat.getByRole("checkbox", { name: /Continue the text/ }).uncheck();
  });

  it("compares texts", async () => {
    const texts = await panel(desk.page, "texts");
    await texts.locator("select").selectOption("shapes-embed");
    const nearness = async (other) => {
      await texts.locator("textarea").nth(0).fill("a red circle");
      await texts.locator("textarea").nth(1).fill(other);
      await texts.locator(".note").evaluate((note) => (note.textContent = ""));
      await texts.getByRole("button", { name: "Compare" }).click();
      await texts.locator(".note", { hasText: "dimensions each" }).waitFor();
      return Number(await texts.locator(".verdict strong").textContent());
    };
    assert.ok((await nearness("a red circle")) > 0.999);
    assert.ok((await nearness("a blue star")) < 0.95);
  });

  it("compares pictures, which are samples, chosen or dropped", async () => {
    const pictures = await panel(desk.page, "pictures");
    await pictures.getByRole("button", { name: "Compare" }).click();
    await pictures.locator(".note.wrong", { hasText: "One picture is missing" }).waitFor();
    await pictures.getByRole("button", { name: "Sample" }).first().click();
    const url = await pictures.locator(".drop img").first().getAttribute("src");
    await pictures.locator(".drop").nth(1).evaluate((drop, url) => {
      const bytes = Uint8Array.from(atob(url.split(",")[1]), (c) => c.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], "same.png", { type: "image/png" }));
      drop.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }, url);
    await pictures.getByText("same.png").waitFor();
    await pictures.getByRole("button", { name: "Compare" }).click();
    await pictures.locator(".verdict strong", { hasText: "1.000" }).waitFor();
  });

  it("answers a question about a picture", async () => {
    const look = await panel(desk.page, "look");
    await look.getByRole("button", { name: "Sample" }).click();
    await look.getByRole("button", { name: "Ask" }).click();
    await look.locator(".note", { hasText: /\d+ tokens/ }).waitFor();
    assert.match(await look.locator(".answer").textContent(), /circle|square|triangle|star|ring|cross|diamond|heart/);
  });

  it("draws a picture, and shows it on its way", async () => {
    const { page } = desk;
    const draw = await panel(page, "draw");
    await page.evaluate(() => {
      window.partial = 0;
      const look = () => (window.partial += document.querySelectorAll("figure.partial").length);
      new MutationObserver(look).observe(document.querySelector(".drawn"), { childList: true });
    });
    await draw.getByRole("button", { name: "Draw" }).click();
    await draw.locator(".note", { hasText: "Drawn in" }).waitFor();
    const picture = draw.locator("figure:not(.partial) img");
    assert.deepEqual(await picture.evaluate(async (image) => (await image.decode(), [image.naturalWidth, image.naturalHeight])), [64, 64]);
    assert.ok((await page.evaluate(() => window.partial)) > 0, "a picture on its way was shown");
    await shoot(page, "drawn");
  });
});

describe("whoever reads it, and on whatever", () => {
  const tabs = ["chat", "texts", "pictures", "look", "draw"];
  const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

  for (const colorScheme of ["light", "dark"]) {
    it(`fits a phone, ${colorScheme}`, async () => {
      const visit = await open(browser, server.url, { ...phone, colorScheme });
      for (const id of tabs) {
        await panel(visit.page, id);
        const wide = await visit.page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= 360, `with ${id} it is ${wide} wide`);
      }
      await panel(visit.page, "chat");
      await shoot(visit.page, `phone-${colorScheme}`);
      assert.deepEqual(await troubles(visit), []);
      await visit.context.close();
    });

    it(`can be read, ${colorScheme}`, async () => {
      const visit = await open(browser, server.url, { colorScheme });
      await visit.page.locator(".worker .strip rect").first().waitFor();
      await shoot(visit.page, `desk-${colorScheme}`);
      const pairs = [["--ink", "--surface"], ["--soft", "--surface"], ["--soft", "--ground"], ["--accent", "--surface"],
        ["--on-accent", "--accent"], ["--wrong", "--surface"], ["--ink", "--wrong-ground"], ["--soft", "--sunken"]];
      for (const pair of pairs) {
        const ratio = await visit.page.evaluate(contrast, pair);
        assert.ok(ratio >= 4.5, `${pair.join(" on ")} has a contrast of ${ratio.toFixed(2)}`);
      }
      await visit.context.close();
    });
  }

  it("is used by keyboard alone", async () => {
    const visit = await open(browser, server.url);
    const { page } = visit;
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    const reached = [];
    for (let tabs = 0; tabs < 120; tabs += 1) {
      await page.keyboard.press("Tab");
      const [name, ring] = await page.evaluate(() => {
        const at = document.activeElement;
        return [at.getAttribute("aria-label") ?? at.id ?? at.textContent, getComputedStyle(at).outlineStyle !== "none"];
      });
      const button = await page.evaluate(() => document.activeElement.tagName === "BUTTON");
      if (button) assert.ok(ring, `${name} does not show that it has the focus`);
      reached.push(name);
    }
    for (const wanted of ["key-button", "Load shapes-diffusion", "Pin shapes-embed", "tab-chat"]) {
      assert.ok(reached.some((name) => name === wanted || name === wanted.replace(/^Load/, "Unload")), `${wanted} was not reached: ${reached}`);
    }
    await page.locator("#tab-chat").focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-texts");
    await page.keyboard.press("End");
    assert.equal(await page.locator("#panel-draw").isVisible(), true);
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.locator("#panel-chat").isVisible(), true);
    assert.deepEqual(await troubles(visit), []);
    await visit.context.close();
  });

  it("keeps the focus while figures change", async () => {
    const visit = await open(browser, server.url);
    const { page } = visit;
    await page.getByRole("button", { name: "Pin shapes-llava" }).focus();
    const before = await page.locator("#version").textContent();
    await page.waitForFunction((before) => document.getElementById("version").textContent !== before, before);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Pin shapes-llava");
    await visit.context.close();
  });

  it("moves nothing for who wants it still", async () => {
    const visit = await open(browser, server.url, { reducedMotion: "reduce" });
    await visit.page.evaluate(() => document.querySelector(".talk").append(Object.assign(document.createElement("div"), { className: "turn streaming" })));
    assert.equal(await visit.page.evaluate(() => document.getAnimations().length), 0);
    await visit.context.close();
  });
});

describe("who may come in", () => {
  it("asks for a key, and goes on with it", async () => {
    const guarded = await serve(["--api-key", KEY]);
    const visit = await open(browser, guarded.url, {}, { waitLive: false });
    const { page } = visit;
    await page.locator("#key-dialog[open]").waitFor();
    await page.getByRole("textbox", { name: "Key" }).fill("another-key-altogether");
    await page.keyboard.press("Enter");
    await page.locator("#banner", { hasText: "not one of this server's" }).waitFor();
    await page.getByRole("textbox", { name: "Key" }).fill(KEY);
    await page.keyboard.press("Enter");
    await page.locator("#link[data-state=live]").waitFor();
    const texts = await panel(page, "texts");
    await texts.getByRole("button", { name: "Compare" }).click();
    await texts.locator(".note", { hasText: "dimensions each" }).waitFor();
    assert.deepEqual(await page.evaluate(() => window.violations), []);
    await visit.context.close();
    assert.equal(await guarded.stop(), 0);
  });

  it("says that the server is gone, and comes back with it", async () => {
    const other = await serve();
    const visit = await open(browser, other.url);
    await other.stop();
    await visit.page.locator("#link[data-state=lost]").waitFor();
    await visit.page.locator("#banner", { hasText: "What you see is how it last was." }).waitFor();
    const again = await serve([], new URL(other.url).port);
    await visit.page.locator("#link[data-state=live]").waitFor();
    assert.equal(await visit.page.locator("#banner").isVisible(), false);
    await visit.context.close();
    assert.equal(await again.stop(), 0);
  });
});

it("has had nothing to complain of", async () => {
  assert.deepEqual(await troubles(desk), []);
});

/// How far two colours of the style sheet are apart, by WCAG's measure.
function contrast([front, back]) {
  const brush = document.createElement("canvas").getContext("2d");
  const light = (name) => {
    brush.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
    brush.fillRect(0, 0, 1, 1);
    const linear = [...brush.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const [a, b] = [light(front), light(back)].toSorted((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
