// node browser.mjs <chromium> <demo url> <screenshot>
// Draws on the board of one page and sees the strokes arrive in another, whose session another node owns.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const DEADLINE = 20_000;
const [executablePath, url, screenshot] = process.argv.slice(2);
// Playwright gives every browser a new directory for its user's data.
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
try {
  const artist = await open();
  const viewer = await openElsewhere(await artist.owner());
  await artist.page.waitForSelector("#board");
  const before = await viewer.strokes();

  await draw(artist.page);
  await viewer.page.waitForFunction(
    (before) => Number(document.querySelector("#strokes-received").textContent) > before,
    before,
    { timeout: DEADLINE },
  );

  await artist.page.fill("#chat-input", "hello from another node");
  await artist.page.press("#chat-input", "Enter");
  await viewer.page.waitForFunction(
    () => document.querySelector("#chat-log").textContent.includes("hello from another node"),
    undefined,
    { timeout: DEADLINE },
  );

  await viewer.page.screenshot({ path: screenshot, fullPage: true });
  assert.deepEqual([artist.errors, viewer.errors], [[], []], "errors in the pages");
  console.log(`${await viewer.strokes()} strokes from ${await artist.owner()} at ${await viewer.owner()}`);
} finally {
  await browser.close();
}

/** A connected page. */
async function open() {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.setDefaultTimeout(DEADLINE);
  await page.goto(url);
  await page.waitForFunction(() => /^[\w.-]+$/.test(document.querySelector("#owner").textContent.trim()));
  return {
    page,
    errors,
    owner: async () => (await page.textContent("#owner")).trim(),
    strokes: async () => Number(await page.textContent("#strokes-received")),
  };
}

/** A page whose session belongs to another node than `owner`: nodes take turns, so a few pages are enough. */
async function openElsewhere(owner) {
  for (let pages = 0; pages < 12; pages++) {
    const one = await open();
    if ((await one.owner()) !== owner) return one;
    await one.page.close();
  }
  throw new Error(`every session belongs to ${owner}`);
}

async function draw(page) {
  const box = await page.locator("#board").boundingBox();
  const at = (x, y) => [box.x + box.width * x, box.y + box.height * y];
  await page.mouse.move(...at(0.2, 0.3));
  await page.mouse.down();
  for (let step = 1; step <= 12; step++) await page.mouse.move(...at(0.2 + step * 0.05, 0.3 + (step % 2) * 0.2));
  await page.mouse.up();
}
