// node balanced.mjs <url>: clients of every transport under load behind a load balancer. Prints `ready`, loads until standard input
// says `stop`, and prints what each client has met, as JSON.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url] = process.argv.slice(2);
const transports = { polling: ["polling"], websocket: ["websocket"], upgrading: ["polling", "websocket"] };
let loading = true;

class Loaded {
  constructor(kind, number) {
    this.name = `${kind}-${number}`;
    this.kind = kind;
    this.owners = [];
    this.disconnects = [];
    this.wrong = [];
    this.echoes = 0;
    this.socket = io(url, { transports: transports[kind], forceNew: true, reconnectionDelay: 100, query: { name: this.name } });
    this.connected = new Promise((resolve) => {
      this.socket.on("connect", () => this.socket.emit("pid", (pid) => resolve(this.owners.push(pid))));
    });
    this.socket.on("disconnect", (reason, details) => this.disconnects.push(`${reason}: ${details?.message ?? ""}`));
    this.socket.on("mirrored", (number) => this.heard(number));
    this.expected = 0;
  }

  // Events without acks, so that each may come only once and in order.
  heard(number) {
    if (number !== this.expected) this.wrong.push(`${number} instead of ${this.expected}`);
    this.expected = number + 1;
  }

  async load() {
    for (let number = 0; loading && this.disconnects.length === 0; number += 1) {
      this.socket.emit("mirror", number);
      this.sent = number + 1;
      await sleep(20 + Math.random() * 60);
    }
    for (let waited = 0; waited < 10_000 && this.disconnects.length === 0 && this.expected < this.sent; waited += 20) await sleep(20);
  }

  report() {
    const { name, kind, owners, disconnects, wrong, sent, expected } = this;
    return { name, kind, owner: owners[0], disconnects, wrong, sent, received: expected };
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const clients = Object.keys(transports).flatMap((kind) => Array.from({ length: 12 }, (_, number) => new Loaded(kind, number)));
await Promise.all(clients.map((client) => client.connected));
const loads = clients.map((client) => client.load());
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) if (line === "stop") break;
loading = false;
await Promise.all(loads);
console.log(JSON.stringify(clients.map((client) => client.report())));
process.exit(0);
