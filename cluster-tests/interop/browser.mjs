// node browser.mjs <chromium> <demo url> official|own <address of the CDN> <folder for screenshots>
// Two people at nodes of their own draw and chat, a node is stopped under one of them and started again, somebody comes
// late: with the client that the page is expected to use.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const DEADLINE = 20_000;
const [executablePath, url, client, cdn, screenshots] = process.argv.slice(2);
// Playwright gives every browser a new directory for its user's data.
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    `--host-resolver-rules=MAP cdn.socket.io ${cdn}`,
  ],
});
try {
  const artist = await open();
  const victim = await artist.owner();
  const viewer = await openElsewhere(victim);

  await draw(artist.page);
  await until(viewer, "a stroke", () => Number(document.querySelector("#strokes-received").textContent) > 0);
  await say(artist, "hello from another node");
  await reads(viewer, "hello from another node");
  await until(viewer, "three nodes", () => document.querySelectorAll("#graph .link.up").length === 3);
  await shoot(viewer, "three-nodes");

  // Whoever comes late sees what is there already.
  const late = await open();
  await reads(late, "hello from another node");
  await until(late, "the board", isDrawnOn);
  await late.page.close();

  // The node of the artist is stopped; everybody goes on.
  await viewer.page.click(`button[aria-label^="Stop ${victim} "]`);
  // The others may have noticed before this looks.
  await until(viewer, "the stop", (victim) => /stopped|gone/.test(cardOf(victim).textContent), victim);
  await shoot(viewer, "one-stopped");
  await until(artist, "another owner", (victim) => {
    const owner = document.querySelector("#owner").textContent;
    return document.querySelector("#status").dataset.state === "connected" && owner !== victim;
  }, victim);
  assert.equal(await artist.page.textContent("#reconnects"), "1");
  await until(viewer, "the others to notice", (victim) => cardOf(victim).textContent.includes("gone"), victim);
  const before = await viewer.strokes();
  await draw(artist.page);
  await until(viewer, "strokes", (before) => Number(document.querySelector("#strokes-received").textContent) > before, before);
  await until(artist, "what was said before", isDrawnOn);
  await shoot(viewer, "one-gone");

  // It is started again, and is a node like the others.
  await viewer.page.click(`button[aria-label="Start ${victim}"]`);
  await until(viewer, "three nodes again", (victim) =>
    cardOf(victim).textContent.includes("ready") && document.querySelectorAll("#graph .link.up").length === 3, victim);
  const back = await openAt(victim);
  await reads(back, "hello from another node");
  await until(back, "the board", isDrawnOn);
  await say(back, "back again");
  await reads(viewer, "back again");
  await shoot(viewer, "reconnected");

  for (const one of [artist, viewer, back]) {
    assert.deepEqual(one.errors, [], "errors in a page");
    assert.match(await one.page.textContent("#client"), { official: /^official$/, own: /own$/ }[client]);
  }
  console.log(`${await viewer.strokes()} strokes at ${await viewer.owner()}`);
} finally {
  await browser.close();
}

/** A connected page. */
async function open() {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.setDefaultTimeout(DEADLINE);
  await page.addInitScript(() => {
    globalThis.cardOf = (node) => [...document.querySelectorAll("#members li")].find((card) => card.textContent.startsWith(node));
  });
  await page.goto(url);
  await page.waitForFunction(() => /^[\w.-]+$/.test(document.querySelector("#owner").textContent.trim()));
  return {
    page,
    errors,
    owner: async () => (await page.textContent("#owner")).trim(),
    strokes: async () => Number(await page.textContent("#strokes-received")),
  };
}

/**
 * A page whose session belongs to a node of which this holds. Requests take turns at the nodes, so a few pages are enough;
 * where a page takes as many requests as make whole rounds, it is always the same node's turn, and one request more moves on.
 */
async function openWhere(holds) {
  const owners = [];
  while (owners.length < 12) {
    const one = await open();
    const owner = await one.owner();
    if (holds(owner)) return one;
    await one.page.close();
    if (owner === owners.at(-1)) await fetch(url);
    owners.push(owner);
  }
  throw new Error(`no session belongs to such a node, but to ${owners}`);
}
function openElsewhere(node) {
  return openWhere((owner) => owner !== node);
}
function openAt(node) {
  return openWhere((owner) => owner === node);
}

async function until({ page }, what, condition, argument) {
  await page.waitForFunction(condition, argument).catch((error) => { throw new Error(`waiting for ${what}`, { cause: error }); });
}

/** Whether there is anything on the board. */
function isDrawnOn() {
  const board = document.querySelector("#board");
  const { data } = board.getContext("2d").getImageData(0, 0, board.width, board.height);
  return data.some((value) => value !== 0);
}

async function say({ page }, words) {
  await page.fill("#chat-input", words);
  await page.press("#chat-input", "Enter");
}

async function reads(one, words) {
  await until(one, words, (words) => document.querySelector("#chat-log").textContent.includes(words), words);
}

async function draw(page) {
  const box = await page.locator("#board").boundingBox();
  const at = (x, y) => [box.x + box.width * x, box.y + box.height * y];
  await page.mouse.move(...at(0.2, 0.3));
  await page.mouse.down();
  for (let step = 1; step <= 12; step++) await page.mouse.move(...at(0.2 + step * 0.05, 0.3 + (step % 2) * 0.2));
  await page.mouse.up();
}

/** Pictures for people, in light and dark, and as a phone shows it. */
async function shoot({ page }, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${screenshots}/${client}-${name}-${colorScheme}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: `${screenshots}/${client}-${name}-phone.png`, fullPage: true });
  await page.setViewportSize({ width, height });
}
