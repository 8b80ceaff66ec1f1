// node webtransport.mjs <chromium> <url> <hash of the certificate, base64> <bundle of the client>
// The official client in a browser over WebTransport: alone, and by upgrade from polling.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, url, hash, bundle] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  // Any page that comes from there will do; browsers keep others from talking to this machine.
  await page.goto(`${url}socket.io/`);
  await page.addScriptTag({ path: bundle });
  const seen = await page.evaluate(inThePage, hash);
  const each = (kind, ended) => ({ kind, transport: "webtransport", text: "€ 😀", bytes: true, ended });
  const disconnected = "io server disconnect";
  const clients = [
    // The end of a connection that no packet announced is an error to the browser, whatever its code.
    each("alone", "transport error"), each("alone", disconnected),
    each("upgraded", disconnected), each("upgraded", disconnected),
  ];
  assert.deepEqual(seen, { clients, relayed: [true, true, true, true] });
  console.log("webtransport: ok");
} finally {
  await browser.close();
}

/** Runs in the page. */
async function inThePage(hash) {
  const DEADLINE = 15_000;
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  const within = (what, promise) => Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`waited for ${what}`)), DEADLINE)),
  ]);
  const bytes = Uint8Array.from({ length: 70_000 }, (_, n) => n * 31);
  const same = (other) => {
    const view = new Uint8Array(other);
    return view.length === bytes.length && view.every((byte, n) => byte === bytes[n]);
  };
  const connect = async (transports) => {
    const one = io({
      transports, forceNew: true, reconnection: false,
      transportOptions: { webtransport: { serverCertificateHashes: [{ algorithm: "sha-256", value }] } },
    });
    const upgraded = transports.length > 1 && new Promise((resolve) => one.io.engine.once("upgrade", resolve));
    await within("a connection", new Promise((resolve, reject) => {
      one.once("connect", resolve);
      one.once("connect_error", (error) => reject(new Error(`${transports}: ${error.message} ${error.description}`)));
    }));
    await within("the upgrade", upgraded);
    return one;
  };
  // Sessions that polling opened belong to one node after the other.
  const both = ["polling", "webtransport"];
  const clients = [
    await connect(["webtransport"]), await connect(["webtransport"]), await connect(both), await connect(both),
  ];
  const relayed = [];
  for (const [n, one] of clients.entries()) {
    const other = clients[(n + 1) % clients.length];
    const arrival = new Promise((resolve) => other.once("relayed", resolve));
    one.emit("relay", other.id, bytes);
    relayed.push(same(await within("a relayed message", arrival)));
  }
  const kinds = ["alone", "alone", "upgraded", "upgraded"];
  const seen = [];
  for (const [n, one] of clients.entries()) {
    const transport = one.io.engine.transport.name;
    const text = await one.timeout(DEADLINE).emitWithAck("echo", "€ 😀");
    const echoed = same(await one.timeout(DEADLINE).emitWithAck("echo", bytes));
    seen.push({ kind: kinds[n], transport, text, bytes: echoed });
  }
  // The server disconnects them, but for the first, whose node stops at last.
  for (const [n, one] of [...clients.entries()].reverse()) {
    const end = new Promise((resolve) => one.once("disconnect", resolve));
    one.emit("note", n > 0 ? "close me" : "stop");
    seen[n].ended = await within("the end", end);
  }
  return { clients: seen, relayed };
}
