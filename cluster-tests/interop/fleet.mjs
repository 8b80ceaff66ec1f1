// node fleet.mjs <url>: clients of every transport of the demo's application behind a load balancer, while its nodes are upgraded. Prints
// `ready`, listens until standard input says `stop`, and prints what each client has met, as JSON.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url] = process.argv.slice(2);
const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];

class Listener {
  constructor(transports) {
    this.refused = [];
    this.ended = [];
    this.wrong = [];
    this.heard = 0;
    this.last = new Map();
    this.socket = io(url, { transports, forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 500 });
    this.socket.on("connect_error", (error) => this.refused.push(`${transports}: ${error.message} ${error.context?.status ?? ""}`));
    this.socket.on("disconnect", (reason) => this.ended.push(`${transports}: ${reason}`));
    this.socket.on("chat", ({ text }) => this.hear(text));
    this.connected = new Promise((resolve) => this.socket.once("connect", resolve));
  }

  // A client that comes back has missed something, and has nothing twice.
  hear(text) {
    const [speaker, number] = text.split(" ");
    if (Number(number) <= (this.last.get(speaker) ?? -1)) this.wrong.push(text);
    this.last.set(speaker, Number(number));
    this.heard += 1;
  }

  report() {
    const { refused, ended, wrong, heard, socket } = this;
    return { refused, ended, wrong, heard, connected: socket.connected };
  }
}

const clients = TRANSPORTS.flatMap((transports) => [1, 2, 3].map(() => new Listener(transports)));
await Promise.all(clients.map((client) => client.connected));
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) if (line === "stop") break;
console.log(JSON.stringify(clients.map((client) => client.report())));
process.exit(0);
