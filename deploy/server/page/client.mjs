// A small Socket.IO client, for pages that cannot get the official one: the demo has to work without the internet.
//
// It speaks Engine.IO 4 over HTTP long-polling, with upgrade to WebSocket, and Socket.IO 5: events and acks in both
// directions, volatile events, heartbeat and reconnection. Names and behaviour are those of the official client, so a page
// can use either. It has no binary data, no WebTransport, and one namespace per connection.
//
//   import { io } from "./client.mjs";
//   const socket = io();
//   socket.on("connect", () => socket.emit("hello", "world", (answer) => console.log(answer)));
//
// The classes build on each other, from the bottom up: a transport carries packets, an Engine is one session over changing
// transports, a Manager opens one session after another, a Socket is what the page holds.

/** Connects. The path of the URL is the namespace, as with the official client. */
export function io(url, options) {
  if (typeof url === "object") return io(undefined, url);
  const at = new URL(url ?? "/", globalThis.location?.href);
  return new Manager(at, { ...DEFAULTS, ...options }).socket.connect();
}

const DEFAULTS = {
  path: "/socket.io/",
  transports: ["polling", "websocket"],
  query: {},
  auth: undefined,
  timeout: 20_000,
  reconnection: true,
  reconnectionAttempts: Infinity,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
  randomizationFactor: 0.5,
  fetch: (...request) => globalThis.fetch(...request),
  WebSocket: globalThis.WebSocket,
};

class Emitter {
  #listeners = new Map();

  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? [];
    this.#listeners.set(event, [...listeners, listener]);
    return this;
  }

  once(event, listener) {
    const once = (...args) => {
      this.off(event, once);
      listener(...args);
    };
    return this.on(event, once);
  }

  off(event, listener) {
    const left = listener ? (this.#listeners.get(event) ?? []).filter((other) => other !== listener) : [];
    this.#listeners.set(event, left);
    return this;
  }

  /** Calls the listeners. (The `emit` of a socket sends.) */
  fire(event, ...args) {
    for (const listener of this.#listeners.get(event) ?? []) call(listener, ...args);
  }
}

/** Calls a function of the page. What it throws is reported as uncaught, and does not disturb the connection. */
function call(listener, ...args) {
  try {
    listener(...args);
  } catch (error) {
    queueMicrotask(() => { throw error; });
  }
}

/* --- Engine.IO: transports. A packet is a string: a digit for its type, then its data. --- */

const OPEN = "0", CLOSE = "1", PING = "2", PONG = "3", MESSAGE = "4", UPGRADE = "5", NOOP = "6";
const SEPARATOR = "\x1e";

/** HTTP long-polling: at most one GET and at most one POST are in progress, because the server closes on a second one. */
class Polling {
  name = "polling";
  #address;
  #fetch;
  #getting = Promise.resolve();
  #posting = Promise.resolve();
  #posts = false;
  #paused = false;
  #abort = new AbortController();

  constructor(address, options) {
    this.#address = () => address("http", this.name);
    this.#fetch = options.fetch;
  }

  open() {
    this.#getting = this.#poll();
  }

  async #poll() {
    while (!this.#paused && !this.#abort.signal.aborted) {
      const payload = await this.#request("GET");
      if (payload === undefined) return;
      payload.split(SEPARATOR).forEach((packet) => this.onpacket(packet));
    }
  }

  /** Whether `send` may be called. */
  get writable() {
    return !this.#posts && !this.#paused;
  }

  /** Whether what is sent would leave at once. */
  get isIdle() {
    return this.writable;
  }

  send(packets) {
    this.#posts = true;
    const posting = this.#request("POST", packets.join(SEPARATOR));
    this.#posting = posting.then((answer) => {
      this.#posts = false;
      if (answer !== undefined) this.ondrain();
    });
  }

  /** Begins no further request, and resolves when those in progress have ended: their packets are handled as usual. */
  async pause() {
    this.#paused = true;
    await Promise.all([this.#getting, this.#posting]);
  }

  /** The text of the answer; `undefined` if there is none, after `onclose` was told. */
  async #request(method, body) {
    try {
      const request = { method, body, cache: "no-store", signal: this.#abort.signal };
      const response = await this.#fetch(this.#address(), request);
      if (response.ok) return await response.text();
      this.onclose("transport error", new Error(`the server answered ${response.status}`));
    } catch (error) {
      this.onclose("transport error", new Error("the server cannot be reached", { cause: error }));
    }
  }

  /** Tells the server; it answers the GET that waits. */
  close() {
    this.#paused = true;
    this.#fetch(this.#address(), { method: "POST", body: CLOSE, keepalive: true }).catch(() => {});
  }

  /** Ends without a word. */
  drop() {
    this.#abort.abort();
  }
}

/** A WebSocket carries one packet per frame. */
class WebSocketTransport {
  name = "websocket";
  #address;
  #socket;
  #WebSocket;

  constructor(address, options) {
    this.#address = () => address("ws", this.name);
    this.#WebSocket = options.WebSocket;
  }

  open() {
    const socket = (this.#socket = new this.#WebSocket(this.#address()));
    socket.onopen = () => this.onopen?.();
    // Frames that are not text are binary messages, which the engine refuses.
    socket.onmessage = ({ data }) => this.onpacket(typeof data === "string" ? data : "");
    socket.onclose = () => this.onclose("transport close", new Error("the WebSocket was closed"));
    socket.onerror = () => this.onclose("transport error", new Error("the WebSocket failed"));
  }

  get writable() {
    return this.#socket.readyState === OPEN_SOCKET;
  }

  get isIdle() {
    return this.writable && this.#socket.bufferedAmount === 0;
  }

  send(packets) {
    packets.forEach((packet) => this.#socket.send(packet));
  }

  close() {
    this.#socket.close();
  }

  drop() {
    this.#socket.close();
  }
}

const TRANSPORTS = { polling: Polling, websocket: WebSocketTransport };
/** `WebSocket.OPEN`. */
const OPEN_SOCKET = 1;

/* --- Engine.IO: one session --- */

/** Fires `open`, `message`, `upgrade` and, as the last, `close` with the reason and an error that tells more. */
class Engine extends Emitter {
  id;
  transport;
  #url;
  #options;
  #state = "opening";
  #queue = [];
  #maxPayload = Infinity;
  #silence = Infinity;
  #expires = Infinity;
  #heartbeat;
  #probe;
  #upgrading = false;

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = options;
    const Transport = TRANSPORTS[options.transports[0]];
    this.transport = this.#attach(new Transport(this.#address, options));
    this.transport.open();
  }

  #address = (scheme, transport) => {
    const url = new URL(this.#options.path, this.#url);
    url.protocol = url.protocol.replace("http", scheme);
    const query = { ...this.#options.query, EIO: 4, transport, ...(this.id && { sid: this.id }) };
    url.search = new URLSearchParams(query);
    return url.href;
  };

  #attach(transport) {
    transport.onpacket = (packet) => this.#receive(packet);
    transport.ondrain = () => this.#flush();
    transport.onclose = (reason, error) => this.#end(reason, error);
    return transport;
  }

  #receive(packet) {
    if (this.#state === "closed") return;
    const data = packet.slice(1);
    switch (packet[0]) {
      case OPEN: return this.#handshake(data);
      case CLOSE: return this.#end("transport close", new Error("the server closed the session"));
      case PING:
        this.#expectPing();
        return this.send(PONG);
      case MESSAGE: return this.fire("message", data);
      case PONG: case UPGRADE: case NOOP: return;
      default: return this.#end("parse error", new Error("a packet that this client cannot read"));
    }
  }

  #handshake(json) {
    const { sid, upgrades = [], pingInterval, pingTimeout, maxPayload } = parse(json) ?? {};
    if (typeof sid !== "string") return this.#end("parse error", new Error("not a handshake"));
    this.id = sid;
    this.#maxPayload = maxPayload;
    this.#silence = pingInterval + pingTimeout;
    this.#expectPing();
    if (this.#state === "opening") this.#state = "open";
    this.fire("open");
    this.#flush();
    const canUpgrade = [upgrades, this.#options.transports].every((names) => names.includes("websocket"));
    if (this.#state === "open" && canUpgrade) this.#upgrade();
  }

  /** The server pings; a session without a ping for that long is over. */
  #expectPing() {
    clearTimeout(this.#heartbeat);
    this.#expires = Date.now() + this.#silence;
    this.#heartbeat = setTimeout(() => this.#expire(), this.#silence);
  }

  #expire() {
    this.#end("ping timeout", new Error("the server is silent"));
  }

  /** The timers of a machine that slept fire late, so whoever wants to send asks as well. */
  checkHeartbeat() {
    if (Date.now() >= this.#expires) this.#expire();
  }

  /**
   * Moves the session to a WebSocket: a probe is answered while polling goes on; then polling is paused, so that nothing is
   * in flight there, and `5` completes the upgrade. Until then nothing but the probe is written to the WebSocket. Where this
   * fails before polling was paused, the session stays as it is.
   */
  #upgrade() {
    const probe = (this.#probe = new WebSocketTransport(this.#address, this.#options));
    probe.onopen = () => probe.send([`${PING}probe`]);
    probe.onclose = () => { this.#probe = undefined; };
    probe.onpacket = async (packet) => {
      if (packet !== `${PONG}probe` || this.#upgrading) return probe.close();
      this.#upgrading = true;
      await this.transport.pause();
      this.#upgrading = false;
      if (this.#state === "closed") return;
      if (!probe.writable) return this.#end("transport close", new Error("the WebSocket was closed"));
      this.#probe = undefined;
      this.transport = this.#attach(probe);
      probe.send([UPGRADE]);
      this.fire("upgrade", probe);
      this.#flush();
    };
    probe.open();
  }

  send(packet) {
    this.#queue.push(packet);
    this.#flush();
  }

  /** Whether a packet would leave at once. */
  get isIdle() {
    return this.#hasRoom && this.#queue.length === 0 && this.transport.isIdle;
  }

  get #hasRoom() {
    return this.#state !== "closed" && this.id !== undefined && !this.#upgrading && this.transport.writable;
  }

  #flush() {
    while (this.#hasRoom && this.#queue.length > 0) {
      this.transport.send(this.#queue.splice(0, this.#fitting()));
    }
    if (this.#state === "closing" && this.#hasRoom) {
      this.transport.close();
      this.#end("forced close");
    }
  }

  /** How many queued packets fit into one POST. One that is too large by itself goes alone: the server has the last word. */
  #fitting() {
    if (this.transport.name !== "polling") return this.#queue.length;
    let size = 0;
    const fitting = this.#queue.findIndex((packet) => {
      size += utf8.encode(packet).length + SEPARATOR.length;
      return size - SEPARATOR.length > this.#maxPayload;
    });
    return fitting < 0 ? this.#queue.length : Math.max(fitting, 1);
  }

  /** Closes after everything that was sent before has left. */
  close() {
    if (this.#state === "closed") return;
    this.#state = "closing";
    this.#flush();
  }

  /** Ends at once. */
  abort(reason, error) {
    this.#end(reason, error);
  }

  #end(reason, error) {
    if (this.#state === "closed") return;
    this.#state = "closed";
    clearTimeout(this.#heartbeat);
    this.#probe?.drop();
    if (reason !== "forced close") this.transport.drop();
    this.fire("close", reason, error);
  }
}

const utf8 = new TextEncoder();

/** The value, or `undefined` for what is not JSON. */
function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/* --- Socket.IO --- */

/**
 * Keeps a socket connected: opens a session, and after its end the next one, with growing and random pauses.
 *
 * Fires `open`, `close`, `error`, `reconnect_attempt`, `reconnect`, `reconnect_error` and `reconnect_failed`.
 */
class Manager extends Emitter {
  engine;
  socket;
  #url;
  #options;
  #attempts = 0;
  #timer;

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = options;
    this.socket = new Socket(this, url.pathname, options.auth);
  }

  get isOpen() {
    return this.engine?.id !== undefined;
  }

  open() {
    if (this.engine) return;
    clearTimeout(this.#timer);
    const engine = (this.engine = new Engine(this.#url, this.#options));
    const { timeout } = this.#options;
    this.#timer = setTimeout(() => engine.abort("timeout", new Error("timeout")), timeout);
    engine.on("open", () => this.#opened());
    engine.on("message", (text) => this.#receive(text));
    engine.on("close", (reason, error) => this.#closed(reason, error));
  }

  #opened() {
    clearTimeout(this.#timer);
    const attempts = this.#attempts;
    this.#attempts = 0;
    this.fire("open");
    this.socket.opened();
    if (attempts > 0) this.fire("reconnect", attempts);
  }

  #receive(text) {
    const packet = decode(text);
    if (packet) this.socket.receive(packet);
    else this.engine.abort("parse error", new Error(`not a packet: ${text.slice(0, 80)}`));
  }

  #closed(reason, error) {
    clearTimeout(this.#timer);
    const wasOpen = this.isOpen;
    this.engine = undefined;
    if (wasOpen) {
      this.fire("close", reason, error);
      this.socket.closed(reason, error);
    } else {
      this.fire("error", error);
      this.socket.failed(error);
      if (this.#attempts > 0) this.fire("reconnect_error", error);
    }
    if (this.socket.active && this.#options.reconnection) this.#reconnect();
  }

  #reconnect() {
    if (this.engine) return;
    if (this.#attempts >= this.#options.reconnectionAttempts) {
      this.#attempts = 0;
      this.fire("reconnect_failed");
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.fire("reconnect_attempt", this.#attempts);
      if (this.socket.active) this.open();
    }, this.#pause());
  }

  /** Doubles with every attempt; random, so that the clients of a node that died do not all come back at once. */
  #pause() {
    const { reconnectionDelay, reconnectionDelayMax, randomizationFactor } = this.#options;
    const pause = reconnectionDelay * 2 ** this.#attempts++;
    const deviation = Math.random() * randomizationFactor * pause;
    return Math.min(Math.random() < 0.5 ? pause - deviation : pause + deviation, reconnectionDelayMax);
  }

  /** Closes the session, and opens no other. What was sent before still leaves. */
  close() {
    clearTimeout(this.#timer);
    this.#attempts = 0;
    const engine = this.engine;
    if (!engine) return;
    this.engine = undefined;
    for (const event of ["open", "message", "close"]) engine.off(event);
    engine.close();
    this.fire("close", "forced close");
  }
}

/**
 * One client of one namespace.
 *
 * Fires `connect`, `connect_error` with an error, `disconnect` with a reason, and the events that the server emits: the last
 * argument is a function if the server wants an ack.
 */
class Socket extends Emitter {
  io;
  id;
  connected = false;
  /** Whether it is connected, or tries to be. */
  active = false;
  #namespace;
  #auth;
  /** What waits for the connection: events of the page, and events of the server that came before its answer to CONNECT. */
  #toSend = [];
  #received = [];
  #acks = new Map();
  #nextAck = 0;
  #flags = {};

  constructor(manager, namespace, auth) {
    super();
    this.io = manager;
    this.#namespace = namespace;
    this.#auth = auth;
  }

  connect() {
    this.active = true;
    this.io.open();
    return this;
  }

  disconnect() {
    if (this.connected) this.#send({ type: DISCONNECT });
    this.#leave("io client disconnect");
    return this;
  }

  /** How long the next `emit` waits for its ack; then its callback gets an error first. */
  timeout(ms) {
    this.#flags.timeout = ms;
    return this;
  }

  /** The next event is dropped if it cannot leave at once. */
  get volatile() {
    this.#flags.volatile = true;
    return this;
  }

  emit(event, ...args) {
    if (RESERVED.includes(event)) throw new Error(`"${event}" is a reserved event name`);
    const { timeout, volatile: isVolatile } = this.#flags;
    this.#flags = {};
    const packet = { type: EVENT, data: [event, ...args] };
    if (typeof packet.data.at(-1) === "function") {
      packet.id = this.#nextAck++;
      this.#await(packet, packet.data.pop(), timeout);
    }
    this.io.engine?.checkHeartbeat();
    if (isVolatile && !(this.connected && this.io.engine.isIdle)) return this;
    if (this.connected) this.#send(packet);
    else this.#toSend.push(packet);
    return this;
  }

  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      const ack = (error, answer) => (error ? reject(error) : resolve(answer));
      ack.wantsError = true;
      this.emit(event, ...args, ack);
    });
  }

  /** An ack is called once: with the answer, or, if it wants errors, when the time is up or the connection is lost. */
  #await(packet, ack, timeout) {
    if (timeout === undefined) return void this.#acks.set(packet.id, ack);
    const late = setTimeout(() => {
      this.#acks.delete(packet.id);
      this.#toSend = this.#toSend.filter((other) => other !== packet);
      call(ack, new Error("operation has timed out"));
    }, timeout);
    const inTime = (...args) => {
      clearTimeout(late);
      ack(...args);
    };
    inTime.wantsError = true;
    this.#acks.set(packet.id, inTime);
  }

  #send(packet) {
    this.io.engine.send(MESSAGE + encode(packet, this.#namespace));
  }

  /* What the manager tells. */

  opened() {
    this.#send({ type: CONNECT, data: this.#auth });
  }

  receive({ type, namespace, id, data }) {
    if (namespace !== this.#namespace) return;
    if (type === CONNECT) this.#connected(data);
    else if (type === DISCONNECT) this.#leave("io server disconnect");
    else if (type === CONNECT_ERROR) this.#refused(data);
    else if (type === ACK) this.#acknowledged(id, data);
    else if (this.connected) this.#fire(data, id);
    else this.#received.push([data, id]);
  }

  #connected({ sid }) {
    this.id = sid;
    this.connected = true;
    for (const [data, id] of this.#received.splice(0)) this.#fire(data, id);
    for (const packet of this.#toSend.splice(0)) this.#send(packet);
    this.fire("connect");
  }

  #refused({ message, data }) {
    this.#leave();
    this.fire("connect_error", Object.assign(new Error(message), { data }));
  }

  #fire(data, id) {
    if (id === undefined) return this.fire(...data);
    // Ids belong to a session: an answer that comes after its end is nobody's.
    let asking = this.io.engine;
    this.fire(...data, (...answer) => {
      if (asking && asking === this.io.engine) this.#send({ type: ACK, id, data: answer });
      asking = undefined;
    });
  }

  #acknowledged(id, data) {
    const ack = this.#acks.get(id);
    this.#acks.delete(id);
    if (ack) call(ack, ...(ack.wantsError ? [null] : []), ...data);
  }

  /** Leaves for good: only `connect` brings it back. */
  #leave(reason) {
    this.active = false;
    this.io.close();
    this.closed(reason);
  }

  closed(reason, error) {
    const wasConnected = this.connected;
    this.connected = false;
    this.id = undefined;
    if (wasConnected) this.fire("disconnect", reason, error);
    // Events that have not left yet are sent later, so their acks may still come.
    const waiting = new Set(this.#toSend.map(({ id }) => id));
    for (const [id, ack] of [...this.#acks].filter(([id]) => !waiting.has(id))) {
      this.#acks.delete(id);
      if (ack.wantsError) call(ack, new Error("socket has been disconnected"));
    }
  }

  failed(error) {
    this.fire("connect_error", error);
  }
}

/* --- Socket.IO: packets, `<type>[<namespace>,][<ack id>][<JSON>]` --- */

const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;
/** Events of the client itself. */
const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

function encode({ type, id = "", data }, namespace) {
  const json = data === undefined ? "" : JSON.stringify(data);
  return `${type}${namespace === "/" ? "" : `${namespace},`}${id}${json}`;
}

/** The packet, or `undefined` for a message that is not one, or that has attachments, which this client does not read. */
function decode(text) {
  const [, type, namespace = "/", id, json] = /^([0-4])(?:(\/[^,]*),?)?(\d+)?(.*)$/s.exec(text) ?? [];
  const packet = { type: Number(type), namespace, id: id && Number(id), data: parse(json) };
  const isPacket = type !== undefined && (json === "" || packet.data !== undefined) && IS_VALID[type](packet.data);
  return isPacket ? packet : undefined;
}

const isObject = (data) => typeof data === "object" && data !== null && !Array.isArray(data);
const isName = (name) => typeof name === "number" || (typeof name === "string" && !RESERVED.includes(name));
const IS_VALID = {
  [CONNECT]: isObject,
  [DISCONNECT]: (data) => data === undefined,
  [EVENT]: (data) => Array.isArray(data) && isName(data[0]),
  [ACK]: Array.isArray,
  [CONNECT_ERROR]: isObject,
};
