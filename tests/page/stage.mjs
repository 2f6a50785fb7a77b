// A server, a browser, and pages that must not complain.

import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const { MILLPOND_BINARY, MILLPOND_MODELS, CHROMIUM, SCREENSHOTS } = process.env;

/// How long a test waits for what must come.
export const PATIENCE = 60_000;

/// A name that does harm to a page that takes it for markup.
export const HOSTILE = '<img src=x onerror="window.harmed=1">';

const SHIPPED = ["shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"];

const model = (key, folder) => `[models.auto.${JSON.stringify(key)}]\nsource = ${JSON.stringify(join(MILLPOND_MODELS, folder))}\n`;

/// A server with the shipped models and one of a hostile name, on `port`, or on a free one. `more` are further arguments.
export async function serve(more = [], port = "0") {
  const config = join(mkdtempSync(join(tmpdir(), "millpond-page-")), "millpond.toml");
  writeFileSync(config, [...SHIPPED.map((name) => model(name, name)), model(HOSTILE, "shapes-embed")].join("\n"));
  const child = spawn(MILLPOND_BINARY, ["serve", "--config", config, "--port", port, ...more], { stdio: ["ignore", "pipe", "pipe"] });
  const told = [];
  const url = await new Promise((found, lost) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on("line", (line) => {
        told.push(line);
        const address = line.match(/http:\/\/127\.0\.0\.1:\d+/);
        if (address) found(`${address[0]}/`);
      });
    }
    child.once("exit", (code) => lost(new Error(`the server ended with ${code}:\n${told.join("\n")}`)));
  });
  const stop = async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    return ended;
  };
  return { url, stop };
}

export const launch = () =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });

/// A page that is live, and everything it complains of: errors, policy violations, dialogs. `options` are those of a
/// browser context.
export async function open(browser, url, options = {}, { waitLive = true } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("dialog", async (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
  });
  await page.goto(url);
  if (waitLive) await page.locator("#link[data-state=live]").waitFor();
  return { page, context, complaints };
}

/// What the page had to complain of, all in all.
export const troubles = async ({ page, complaints }) => [
  ...complaints,
  ...(await page.evaluate(() => window.violations)).map((directive) => `policy: ${directive}`),
];

export const shoot = (page, name) => page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
