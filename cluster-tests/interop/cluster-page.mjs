// node cluster-page.mjs <chromium> <page of node-1> <token> <clients of node-2> <process of node-3> <folder for screenshots>
// An operator opens the page of one node of three, looks around with and without a mouse, and a node is killed meanwhile.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { io } from "socket.io-client";

const DEADLINE = 20_000;
const [executablePath, url, token, clients, victim, screenshots] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
});
const socket = io(clients, { transports: ["websocket"] });
const chatting = setInterval(() => socket.emit("typing", null), 100);
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await open(context);

  // Nothing is shown without the token, and it goes nowhere but to the node.
  await page.waitForSelector("#login[open]");
  await accessible(page, "the question for a token");
  await page.fill("#token", "a wrong token, long enough");
  await page.press("#token", "Enter");
  await until(page, "the refusal", () => document.querySelector("#login-said").textContent.includes("does not know"));
  assert.equal(await page.textContent("#figure-members"), "–");
  await page.fill("#token", token);
  await page.press("#token", "Enter");
  await until(page, "the cluster", () => document.querySelector("#verdict").textContent === "all 3 members are ready");
  assert.deepEqual(await page.evaluate(() => [localStorage.length, document.cookie, Object.keys(sessionStorage)]), [0, "", ["socketmesh-token"]]);

  // The picture and the tables say the same.
  await until(page, "the picture", () => document.querySelectorAll("#graph .node.ready").length === 3 && document.querySelectorAll("#graph .link.up").length === 3);
  assert.match(await page.getAttribute("#graph", "aria-label"), /^3 nodes on a circle, 3 links: 3 up\./);
  await page.getByText("The links as a table").click();
  assert.equal(await page.locator("#links tbody tr").count(), 3);
  await page.getByText("The links as a table").click();
  await until(page, "the session", () => document.querySelector("[data-id=node-2]").cells[3].textContent === "1");
  await until(page, "the rates", () => [...document.querySelectorAll(".chart .line")].some((line) => line.getAttribute("d").includes("L")));

  // By keyboard alone: a member is marked, and is no more.
  await page.focus("#members-title");
  for (let steps = 0; steps < 10; steps++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.textContent === "node-2")) break;
  }
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#graph .link.mine").count(), 2);
  // Bringing the page up to date takes the focus from nobody.
  const before = await page.textContent("#updated");
  await until(page, "news", (before) => document.querySelector("#updated").textContent !== before, before);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-pressed")), "true");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#graph .mine").count(), 0);

  // On demand.
  await page.fill("#socket-id", "short");
  await page.press("#socket-id", "Enter");
  await until(page, "the fault", () => document.querySelector("#socket-said").textContent.includes("20 characters"));
  await page.fill("#socket-id", socket.id);
  await page.press("#socket-id", "Enter");
  await until(page, "the socket", () => document.querySelector("#socket-said").textContent.startsWith("As node-2 knew it"));
  await page.click("#count");
  await until(page, "the rooms", () => /counted at/.test(document.querySelector("#rooms-said").textContent));

  await accessible(page, "the page");
  await shoot(page, "three-nodes");

  process.kill(Number(victim), "SIGKILL");
  await until(page, "the end of a node", () => document.querySelector("#news").textContent.includes("node-3 is gone"));
  await until(page, "the picture", () => document.querySelectorAll("#graph .node.gone").length === 1 && document.querySelectorAll("#graph .link").length === 1);
  assert.equal(await page.textContent("#verdict"), "node-3 gone");
  await accessible(page, "the page with a node that is gone");
  await shoot(page, "one-killed");

  // Below a path, with a slash at its end or without; the token is that of the tab.
  for (const path of ["ops", "ops/"]) {
    const below = await open(context, path);
    await below.fill("#token", token);
    await below.press("#token", "Enter");
    await until(below, "the cluster", () => document.querySelector("#figure-members").textContent === "2");
    await below.close();
  }

  // Large clusters, made up of what was seen.
  for (const number of [5, 16, 60]) {
    const crowd = await context.newPage();
    watch(crowd);
    await crowd.route("**/cluster", (route) => route.fulfill({ json: cluster(number) }));
    await crowd.goto(url);
    await until(crowd, "all nodes", (number) => document.querySelectorAll("#graph .node").length === number, number);
    const links = (number * (number - 1)) / 2;
    assert.equal(await crowd.locator("#graph .link").count(), links);
    assert.deepEqual(await crowd.evaluate(overlaps), [], `names of ${number} nodes`);
    await crowd.getByRole("button", { name: "node-4", exact: true }).click();
    assert.equal(await crowd.locator("#graph .link.mine").count(), number - 1);
    await shoot(crowd, `made-up-${number}`);
    await crowd.close();
  }
} finally {
  clearInterval(chatting);
  socket.close();
  await browser.close();
}

async function open(context, path = "") {
  const page = await context.newPage();
  watch(page);
  if (path) await page.route(/\/ops/, (route) => route.continue({ url: route.request().url().replace(/\/ops\/?/, "/") }));
  await page.goto(url + path);
  return page;
}

/** Any error in the page, anything that its policy forbids, and any request to elsewhere fails the test. */
function watch(page) {
  page.setDefaultTimeout(DEADLINE);
  page.on("pageerror", (error) => fail(`an error in the page: ${error.message}`));
  page.on("console", (message) => {
    // The browser itself tells of 401.
    if (message.type() === "error" && !message.text().includes("401")) fail(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) fail(`a request to ${request.url()}`);
  });
}

function fail(what) {
  console.error(what);
  process.exitCode = 1;
}

async function until(page, what, condition, argument) {
  await page.waitForFunction(condition, argument).catch((error) => { throw new Error(`waiting for ${what}`, { cause: error }); });
}

/** What axe finds, in light and dark. The script comes by the debugger: the policy of the page lets none in. */
async function accessible(page, what) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { readFile } = await import("node:fs/promises");
    await page.evaluate(await readFile(axe, "utf8"));
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, help, nodes }) => `${id}: ${help} (${nodes.map(({ html }) => html.slice(0, 90)).join("; ")})`);
    assert.deepEqual(found, [], `${what}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

/** Names of nodes that lie over each other. They may be turned, so the middles of their boxes are compared with their heights. */
function overlaps() {
  const names = [...document.querySelectorAll("#graph .name")].map((name) => {
    const { x, y, width, height } = name.getBoundingClientRect();
    return { name: name.textContent, x: x + width / 2, y: y + height / 2, size: Number(name.getAttribute("font-size")) };
  });
  const scale = document.querySelector("#graph").getScreenCTM().a;
  const close = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) < 0.9 * a.size * scale;
  return names.flatMap((a, at) => names.slice(at + 1).filter((b) => close(a, b)).map((b) => `${a.name} and ${b.name}`));
}

/** What `/cluster` answers for so many nodes. */
function cluster(number) {
  const ids = Array.from({ length: number }, (_, at) => `node-${at + 1}`);
  const odd = (at, other, [a, b]) => (at === a && other === b) || (at === b && other === a);
  const link = (at, other) => (odd(at, other, [0, 3]) ? "relayed" : odd(at, other, [1, 4]) ? "down" : "up");
  const members = ids.map((id, at) => ({
    id, incarnation: String(at), address: `192.0.2.${at}:7946`, age_seconds: 90_000 + 977 * at,
    state: at === 2 ? "draining" : "ready", link: link(0, at), rtt_ms: at === 0 ? null : 0.4 + at / 50, waiting: at === 3 ? 12 : 0,
    ring_share: 1 / number, problem: at === 4 ? "the node does not answer" : null,
    report: at === 4 ? null : {
      sessions: 1200 + 37 * at, transports: { polling: 12, websocket: 1188 + 37 * at, webtransport: 0 }, sockets: 1300, rooms: 250 + at,
      namespaces: [{ name: "/", sockets: 1300, rooms: 250 }], counters: {},
      links: ids.map((peer, other) => ({ peer, state: link(at, other), rtt_ms: 0.4 + ((at + other) % 7) / 9, waiting: 0 })).filter(({ peer }) => peer !== id),
    },
  }));
  return { node: "node-1", ready: true, obstacle: null, sessions: 1200, epoch: 1, members };
}

/** Pictures for people, in light and dark, and as a phone shows it, where nothing has to be moved sideways. */
async function shoot(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${screenshots}/cluster-${name}-${colorScheme}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: "light" });
  const { width, height } = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 780 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}: wider than a phone`);
  await page.screenshot({ path: `${screenshots}/cluster-${name}-phone.png`, fullPage: true });
  await page.setViewportSize({ width, height });
}
