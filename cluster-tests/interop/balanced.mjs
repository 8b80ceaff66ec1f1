// node balanced.mjs <url>: clients of two versions and every transport under load behind a load balancer. Prints `ready`, loads until
// standard input says `stop`, and prints what each client has met, as JSON. Times are milliseconds since 1970.
import { createInterface } from "node:readline";
import { io as io4 } from "socket.io-client";
import { connect as io2 } from "socket.io-client-2";

const [url] = process.argv.slice(2);
const versions = { 2: io2, 4: io4 };
const transports = { polling: ["polling"], websocket: ["websocket"], upgrading: ["polling", "websocket"] };
let loading = true;

class Loaded {
  constructor(version, kind) {
    Object.assign(this, { version, kind, owners: [], disconnects: [], wrong: [], sent: 0, received: 0 });
    this.socket = versions[version](url, { transports: transports[kind], forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 1000 });
    this.connected = new Promise((resolve) => {
      this.socket.on("connect", () => this.socket.emit("pid", (pid) => resolve(this.owners.push(pid))));
    });
    this.socket.on("disconnect", (reason, details) =>
      this.disconnects.push({ at: Date.now(), reason: `${reason}: ${details?.message ?? ""}` }));
    this.socket.on("mirrored", (number) => this.heard(number));
  }

  // Events without acks, so that each may come only once and in order.
  heard(number) {
    if (number !== this.received) this.wrong.push(`${number} instead of ${this.received}`);
    this.received = number + 1;
  }

  async load() {
    while (loading && this.disconnects.length === 0) {
      this.socket.emit("mirror", this.sent);
      this.sent += 1;
      await sleep(100 + Math.random() * 100);
    }
    await until(10_000, () => this.disconnects.length > 0 || this.received === this.sent);
    // Whoever was disconnected is back, and its last session has an owner.
    await until(20_000, () => this.socket.connected && this.owners.length > this.disconnects.length);
  }

  report() {
    const { version, kind, owners, disconnects, wrong, sent, received, socket } = this;
    return { name: `${kind} of version ${version}`, kind, owners, disconnects, wrong, sent, received, connected: socket.connected };
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const until = async (ms, holds) => {
  for (let waited = 0; waited < ms && !holds(); waited += 20) await sleep(20);
};
const each = Array.from({ length: 4 });
const clients = Object.keys(versions).flatMap((version) =>
  Object.keys(transports).flatMap((kind) => each.map(() => new Loaded(version, kind))));
await Promise.all(clients.map((client) => client.connected));
const loads = clients.map((client) => client.load());
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) if (line === "stop") break;
loading = false;
await Promise.all(loads);
console.log(JSON.stringify(clients.map((client) => client.report())));
process.exit(0);
