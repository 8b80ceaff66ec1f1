// node rolling.mjs: official clients that stay while nodes are restarted (cluster-tests/src/rolling). The first line of standard input
// is their plan, as JSON. Prints `ready` when all of them are in their rooms; then lines are orders: `talk`, `quiet`; `state`, which is
// answered with how many are connected; `report`, which is answered with all that each of them met. Times are milliseconds since 1970.
import { createInterface } from "node:readline";
import { io, NodeWebSocket } from "socket.io-client";

// Which node a WebSocket has come to, whoever owns its session: its first answer names that node.
const create = NodeWebSocket.prototype.createSocket;
NodeWebSocket.prototype.createSocket = function (...args) {
  return create.apply(this, args).on("upgrade", ({ headers }) => { this.edge = headers["x-socketmesh-node"]; });
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { clients: plans, seed, every } = JSON.parse((await lines.next()).value);
let talking = false;

// A small generator (xorshift), so that a seed repeats who speaks to whom.
let state = seed % 0x7fffffff || 1;
const below = (limit) => {
  for (const [left, by] of [[true, 13], [false, 17], [true, 5]]) state ^= left ? state << by : state >>> by;
  return (state >>> 0) % limit;
};

class Client {
  constructor({ name, urls, transports, user, rooms }) {
    Object.assign(this, { name, transports, user, rooms, sessions: [], failures: [], heard: {} });
    this.socket = io(urls[0], { transports, forceNew: true, auth: { user } });
    const manager = this.socket.io;
    // Its own delay before it comes back, which is random.
    const { backoff } = manager;
    const duration = backoff.duration.bind(backoff);
    backoff.duration = () => {
      const delay = duration();
      if (this.ended) this.ended.delay ??= Math.ceil(delay);
      return delay;
    };
    // Without a load balancer in between, the next node is tried each time.
    manager.on("reconnect_attempt", (attempt) => { manager.uri = urls[attempt % urls.length]; });
    manager.on("open", () => manager.engine.on("upgradeError", (error) => this.failed("upgrade", error)));
    this.entered = new Promise((resolve) => this.socket.on("connect", () => this.enter().then(resolve, () => {})));
    this.socket.on("connect_error", (error) => this.failed("handshake", error));
    this.socket.on("disconnect", (reason, details) => this.end(reason, details));
    this.socket.on("m", (life, target, number) => this.hear(`${life}/${target}`, number));
  }

  // What was missed arrives before the `connect` of the session to which it belongs.
  async enter() {
    const { id: sid, recovered } = this.socket;
    const session = { sid, recovered: recovered === true, connected: Date.now(), heard: this.heard };
    this.session = session;
    this.sessions.push(session);
    this.isIn &&= session.recovered;
    const asked = this.isIn ? ["where"] : ["enter", this.rooms];
    const { life, user, rooms } = await this.socket.timeout(20_000).emitWithAck(...asked);
    Object.assign(session, { life, user, rooms, entered: Date.now() });
    this.isIn = true;
  }

  // Runs of consecutive numbers, in the order in which they came: nothing is lost, doubled or put into order by that.
  hear(stream, number) {
    const runs = (this.heard[stream] ??= []);
    const run = runs.at(-1);
    const now = Date.now();
    if (run && number === run[1] + 1) [run[1], run[3]] = [number, now];
    else runs.push([number, number, now, now]);
  }

  end(reason, details) {
    // A connection that ends before CONNECT was answered.
    if (!this.session) return this.failed("connect", { message: reason, ...details });
    const { name: transport, edge } = this.socket.io.engine.transport;
    this.ended = { at: Date.now(), reason, transport, edge, ...said(details) };
    this.session.ended = this.ended;
    this.session = undefined;
    this.heard = {};
  }

  failed(what, error) {
    this.failures.push({ at: Date.now(), what, ...said(error) });
  }

  talk() {
    if (!talking || !this.socket.connected) return;
    const other = clients[below(clients.length)].socket;
    if (other.connected) this.socket.emit("say", other.id);
  }

  report() {
    const { name, user, rooms, sessions, failures } = this;
    return { name, user, rooms, sessions, failures };
  }
}

// Why something went wrong, with the HTTP status if there was one.
function said(error) {
  const { message, description, context } = error ?? {};
  const parts = [message, description?.message ?? description, context?.responseText];
  const why = parts.filter((part) => part !== undefined && part !== "").join(": ");
  const unexpected = /Unexpected server response: (\d+)/.exec(why);
  return { why, status: Number(unexpected?.[1] ?? context?.status) || undefined };
}

const clients = plans.map((plan) => new Client(plan));
for (const client of clients) {
  const talk = () => {
    client.talk();
    setTimeout(talk, every / 2 + below(every));
  };
  setTimeout(talk, below(every));
}
await Promise.all(clients.map((client) => client.entered));
console.log("ready");
for await (const order of lines) {
  if (order === "talk" || order === "quiet") talking = order === "talk";
  if (order === "state") console.log(clients.filter((client) => client.socket.connected).length);
  if (order === "report") console.log(JSON.stringify(clients.map((client) => client.report())));
}
process.exit(0);
