// node rules.mjs own|official
// The rules of Engine.IO 4 and Socket.IO 5 for clients, against a server of this file that plays its part by script and
// notes what the client does. The client of the demo has to keep them as the official one does.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { io as official } from "socket.io-client";
import { io as own } from "../../deploy/server/page/client.mjs";
import { deadline, event } from "./client.mjs";
import WebSocket from "ws";

const which = process.argv[2];
const connect = { own: (url, options) => own(url, { WebSocket, ...options }), official }[which];
if (!connect) throw new Error("usage: node rules.mjs own|official");

const SEPARATOR = "\x1e";
const POLLING = { transports: ["polling"] };
const WEBSOCKET = { transports: ["websocket"] };
const QUICK = { reconnectionDelay: 1, reconnectionDelayMax: 2 };

/** What the rules are. Each gets a server and a function that opens a client. */
const rules = {
  async a_session_begins_with_a_get_and_goes_on_with_its_sid({ server, open }) {
    await connected(open(POLLING));
    const [first, ...others] = server.requests;
    assert.deepEqual([first.method, first.query.EIO, first.query.transport, first.query.sid], ["GET", "4", "polling", undefined]);
    assert.ok(others.length > 0);
    for (const { query } of others) assert.deepEqual([query.EIO, query.sid], ["4", server.session.sid]);
    assert.deepEqual(server.session.received, ["40"]);
  },

  async a_session_may_be_a_websocket_from_the_beginning({ server, open }) {
    const client = await connected(open(WEBSOCKET));
    assert.deepEqual(await ask(client, "echo", "€ 😀"), "€ 😀");
    assert.deepEqual(server.requests.map(({ method, query }) => [method, query.transport, query.sid]), [["WS", "websocket", undefined]]);
  },

  async packets_of_a_payload_are_separated_and_handled_in_order({ server, open }) {
    const client = await connected(open(POLLING));
    const numbers = collect(client, "n", 3);
    server.session.reply('42["n",1]', '42["n",2]', "6", '42["n",3]');
    assert.deepEqual(await deadline("three events", numbers), [[1], [2], [3]]);
  },

  async what_waits_for_a_post_goes_together_in_the_next({ server, open }) {
    const client = await connected(open(POLLING));
    const answer = server.session.holdPosts();
    client.emit("n", 1);
    await server.session.until((session) => session.received.includes('42["n",1]'));
    for (const n of [2, 3]) client.emit("n", n);
    answer();
    await server.session.until((session) => session.received.includes('42["n",3]'));
    assert.deepEqual(server.session.posts.slice(-2), ['42["n",1]', ['42["n",2]', '42["n",3]'].join(SEPARATOR)]);
  },

  async payloads_are_as_large_as_the_server_takes({ server, open }) {
    server.handshake.maxPayload = 60;
    const client = await connected(open(POLLING));
    const answer = server.session.holdPosts();
    // Bytes count, not characters: each of these is 30 bytes long.
    const words = ["€€€€€€1", "€€€€€€2", "€€€€€€3", "x".repeat(100), "€€€€€€4", "€€€€€€5"];
    client.emit("w", "first");
    await server.session.until((session) => session.received.includes('42["w","first"]'));
    for (const word of words) client.emit("w", word);
    answer();
    await server.session.until((session) => session.received.length === 2 + words.length);
    const sent = server.session.posts.slice(2).map((payload) => payload.split(SEPARATOR).map((packet) => JSON.parse(packet.slice(2))[1]));
    const fits = server.session.posts.slice(2).every((payload) => Buffer.byteLength(payload) <= 60 || !payload.includes(SEPARATOR));
    assert.ok(fits, JSON.stringify(sent));
    assert.deepEqual(sent.flat(), words);
    assert.ok(sent.length < words.length, "several travel together");
  },

  async one_get_and_one_post_at_a_time({ server, open }) {
    const client = await connected(open(POLLING));
    const order = [];
    await Promise.all(Array.from({ length: 100 }, async (_, n) => order.push(await ask(client, "echo", n))));
    assert.deepEqual(order, Array.from({ length: 100 }, (_, n) => n));
  },

  async an_upgrade_moves_everything_once_and_in_order({ server, open }) {
    server.handshake.upgrades = ["websocket"];
    const release = server.holdProbe();
    const client = await connected(open({}));
    const session = server.session;
    const upgraded = event(client.io.engine, "upgrade");
    const heard = collect(client, "n", 40);
    const sent = [];
    const both = (n) => {
      client.emit("n", n);
      session.reply(`42["n",${n}]`);
      sent.push(`42["n",${n}]`);
    };
    for (let n = 0; n < 20; n++) both(n);
    await session.until(() => session.frames.length === 1);
    assert.deepEqual(session.frames, ["2probe"], "nothing but the probe before the upgrade is done");
    release();
    for (let n = 20; n < 30; n++) both(n);
    await deadline("the upgrade", upgraded);
    for (let n = 30; n < 40; n++) both(n);
    await session.until(() => session.received.length === 41);
    assert.deepEqual(session.received, ["40", ...sent]);
    assert.deepEqual((await deadline("the events", heard)).flat(), Array.from({ length: 40 }, (_, n) => n));
    assert.equal(session.frames[1], "5");
    assert.equal(client.io.engine.transport.name, "websocket");
  },

  async what_is_no_answer_to_the_probe_leaves_the_session_on_polling({ server, open }) {
    server.handshake.upgrades = ["websocket"];
    for (const answer of [(ws) => ws.send("3other"), (ws) => ws.send('42["n",1]'), (ws) => ws.close(), (ws) => ws.terminate()]) {
      server.probed = (ws) => {
        answer(ws);
        // Its pong follows what the client makes of the answer.
        if (ws.readyState === WebSocket.OPEN) ws.ping();
      };
      const client = await connected(open({}));
      const { session } = server;
      await session.until(() => session.isProbed);
      assert.equal(await ask(client, "echo", 1), 1);
      assert.equal(client.io.engine.transport.name, "polling");
      assert.deepEqual(session.frames, ["2probe"]);
    }
  },

  async a_ping_is_answered_with_a_pong({ server, open }) {
    for (const options of [POLLING, WEBSOCKET]) {
      await connected(open(options));
      server.session.reply("2");
      await server.session.until((session) => session.received.includes("3"));
    }
  },

  async a_session_without_pings_is_over_and_followed_by_another({ server, open }) {
    for (const options of [POLLING, WEBSOCKET]) {
      Object.assign(server.handshake, { pingInterval: 30, pingTimeout: 20 });
      const client = await connected(open({ ...options, ...QUICK }));
      const { sid } = server.session;
      const reason = event(client, "disconnect");
      const again = event(client, "connect");
      Object.assign(server.handshake, { pingInterval: 25_000, pingTimeout: 20_000 });
      assert.equal(await deadline("the end", reason), "ping timeout");
      await deadline("the next session", again);
      assert.notEqual(server.session.sid, sid);
    }
  },

  async a_session_that_the_server_does_not_know_is_followed_by_another({ server, open }) {
    const client = await connected(open({ ...POLLING, ...QUICK }));
    const { session } = server;
    const ends = [event(client, "disconnect"), event(client, "connect"), event(client.io, "reconnect")];
    session.forget();
    const [reason, , attempt] = await deadline("the next session", Promise.all(ends));
    assert.deepEqual([reason, attempt], ["transport error", 1]);
    assert.notEqual(server.session.sid, session.sid);
    assert.equal(await ask(client, "echo", 1), 1);
  },

  async a_closed_session_is_followed_by_another({ server, open }) {
    for (const [options, end] of [[POLLING, (session) => session.reply("1")], [WEBSOCKET, (session) => session.ws.close()]]) {
      const client = await connected(open({ ...options, ...QUICK }));
      const ends = [event(client, "disconnect"), event(client, "connect")];
      assert.ok(client.id);
      end(server.session);
      const [reason] = await deadline("the next session", Promise.all(ends));
      assert.equal(reason, "transport close");
    }
  },

  async pauses_between_attempts_grow_and_are_random({ server, open }) {
    server.refuses = 503;
    const [random, timer] = [Math.random, globalThis.setTimeout];
    const pauses = [];
    globalThis.setTimeout = (then, ms, ...rest) => {
      pauses.push(ms);
      return timer(then, ms, ...rest);
    };
    Math.random = () => 0.5;
    const client = open({ ...POLLING, reconnectionDelay: 4, reconnectionDelayMax: 21, randomizationFactor: 0.5 });
    await deadline("four attempts", new Promise((done) => {
      client.io.on("reconnect_attempt", (attempt) => attempt === 4 && done());
    }));
    [Math.random, globalThis.setTimeout] = [random, timer];
    client.disconnect();
    // 4, 8, 16 and 32, a quarter more each, and not more than 21.
    assert.deepEqual(pauses.filter((ms) => [5, 10, 20, 21].includes(ms)), [5, 10, 20, 21]);
  },

  async events_before_the_answer_to_connect_wait_for_it({ server, open }) {
    server.connects = (session) => session.reply('42["early",1]', '40{"sid":"s"}', '42["late",2]');
    const client = open(POLLING);
    const order = [];
    client.on("early", (n) => order.push(["early", n, client.connected]));
    client.on("connect", () => order.push(["connect"]));
    const late = event(client, "late");
    await deadline("the last", late);
    assert.deepEqual(order, [["early", 1, true], ["connect"]]);
  },

  async a_refusal_is_told_and_not_tried_again({ server, open }) {
    server.connects = (session) => session.reply('44{"message":"no","data":{"why":6}}');
    const client = open({ ...POLLING, ...QUICK });
    const error = await deadline("the refusal", event(client, "connect_error"));
    assert.deepEqual([error.message, error.data, client.active, client.connected], ["no", { why: 6 }, false, false]);
    await server.session.until((session) => session.received.includes("1"));
    assert.equal(server.sessions.length, 1);
  },

  async a_server_that_does_not_answer_is_tried_again({ server, open }) {
    server.refuses = 503;
    const client = open({ ...POLLING, ...QUICK });
    const error = await deadline("an error", event(client, "connect_error"));
    assert.ok(error instanceof Error && client.active);
    server.refuses = undefined;
    await deadline("the connection", event(client, "connect"));
  },

  async a_disconnect_by_the_server_is_final({ server, open }) {
    const client = await connected(open({ ...POLLING, ...QUICK }));
    const reason = event(client, "disconnect");
    server.session.reply("41");
    assert.equal(await deadline("the end", reason), "io server disconnect");
    assert.deepEqual([client.active, client.connected], [false, false]);
    await server.session.until((session) => session.received.includes("1"));
    assert.equal(server.sessions.length, 1);
    client.connect();
    await deadline("it is back when it is told to", event(client, "connect"));
  },

  async whoever_disconnects_sends_what_it_has_and_says_so({ server, open }) {
    for (const [options, goodbye] of [[POLLING, ["41", "1"]], [WEBSOCKET, ["41"]]]) {
      const client = await connected(open(options));
      const reason = event(client, "disconnect");
      client.emit("last", "word");
      client.disconnect();
      assert.equal(await reason, "io client disconnect");
      const { session } = server;
      await session.until(() => session.received.includes(goodbye.at(-1)));
      assert.deepEqual(session.received.slice(1), ['42["last","word"]', ...goodbye]);
      if (options === WEBSOCKET) await session.until(() => session.ws.readyState === WebSocket.CLOSED);
    }
  },

  async acks_belong_to_their_events({ server, open }) {
    const client = await connected(open(POLLING));
    server.events = () => {};
    const answers = [];
    client.emit("a", (...args) => answers.push(["a", ...args]));
    client.emit("b", { x: [1] }, (...args) => answers.push(["b", ...args]));
    await server.session.until((session) => session.received.length === 3);
    assert.deepEqual(server.session.received.slice(1), ['420["a"]', '421["b",{"x":[1]}]']);
    server.session.reply("431[1,null]", "430[]", "430[2]", "437[3]", "43[4]");
    const after = event(client, "after");
    server.session.reply('42["after"]');
    await deadline("the last event", after);
    assert.deepEqual(answers, [["b", 1, null], ["a"]]);
  },

  async the_server_may_ask_for_an_ack_once({ server, open }) {
    const client = await connected(open(POLLING));
    client.on("sum", (a, b, answer) => [answer(a + b, "€"), answer(0)]);
    server.session.reply('420["sum",1,2]');
    await server.session.until((session) => session.received.length === 2);
    assert.deepEqual(server.session.received[1], '430[3,"€"]');
    client.emit("after");
    await server.session.until((session) => session.received.length === 3);
    assert.equal(server.session.received[2], '42["after"]');
  },

  async an_ack_has_its_time({ server, open }) {
    const client = await connected(open(POLLING));
    server.events = () => {};
    const answers = [];
    const late = new Promise((done) => client.timeout(5).emit("slow", (...answer) => done(answers.push(answer))));
    const quick = client.timeout(20_000).emitWithAck("quick");
    await deadline("the timeout", late);
    server.session.reply('430["too late"]', '431["in time"]');
    assert.equal(await deadline("the answer", quick), "in time");
    assert.deepEqual(answers.map(([error, ...rest]) => [error.message, ...rest]), [["operation has timed out"]]);
    await assert.rejects(deadline("the rejection", client.timeout(5).emitWithAck("slow")), /timed out/);
  },

  async acks_are_lost_with_the_connection_but_not_those_of_what_waits({ server, open }) {
    const client = await connected(open({ ...POLLING, ...QUICK }));
    server.events = () => {};
    const lost = client.timeout(20_000).emitWithAck("lost");
    const again = event(client, "connect");
    let waiting;
    client.once("disconnect", () => { waiting = client.emitWithAck("waiting"); });
    await server.session.until((session) => session.received.length === 2);
    server.session.reply("1");
    await assert.rejects(deadline("the end of the ack", lost), /disconnected/);
    await deadline("the next session", again);
    const { session } = server;
    await session.until(() => session.received.length === 2);
    assert.equal(session.received[1], '421["waiting"]');
    session.reply('431["here"]');
    assert.equal(await deadline("the ack", waiting), "here");
  },

  async what_is_emitted_before_the_connection_waits_but_not_volatile_events({ server, open }) {
    const client = open(POLLING);
    client.emit("n", 1);
    client.volatile.emit("v", 1);
    client.emit("n", 2);
    await connected(client);
    await server.session.until((session) => session.received.length === 3);
    assert.deepEqual(server.session.received.slice(1), ['42["n",1]', '42["n",2]']);
    const answer = server.session.holdPosts();
    client.emit("n", 3);
    await server.session.until((session) => session.received.length === 4);
    client.volatile.emit("v", 2);
    answer();
    assert.equal(await ask(client, "echo", "done"), "done");
    assert.deepEqual(server.session.received.slice(3), ['42["n",3]', '420["echo","done"]']);
    // One that is emitted while nothing is in progress leaves; when that is, the page cannot see.
    const again = setInterval(() => client.volatile.emit("v", 3), 1);
    await server.session.until((session) => session.received.includes('42["v",3]'));
    clearInterval(again);
  },

  async what_is_no_packet_ends_the_session({ server, open }) {
    // With the official client the last one is an event with an attachment.
    const broken = ["9", "42{}", '42["connect"]', "42[", "40[]", '41["x"]', ...(which === "own" ? ['451-["e",{"_placeholder":true,"num":0}]', "bAAAA"] : [])];
    for (const packet of broken) {
      const client = await connected(open({ ...POLLING, ...QUICK }));
      const ends = [event(client, "disconnect"), event(client, "connect")];
      server.session.reply(packet.startsWith("4") || packet.startsWith("b") ? packet : `4${packet}`);
      const [reason] = await deadline(`the end by ${packet}`, Promise.all(ends));
      assert.equal(reason, "parse error", packet);
      client.disconnect();
    }
  },

  async a_listener_that_throws_does_not_disturb_the_connection({ server, open }) {
    const client = await connected(open(POLLING));
    const uncaught = new Promise((done) => process.once("uncaughtException", done));
    client.on("bad", () => { throw new Error("of the page"); });
    server.session.reply('42["bad"]', '42["good"]');
    assert.equal((await deadline("the error", uncaught)).message, "of the page");
    assert.equal(await ask(client, "echo", 1), 1);
  },

  async names_of_the_client_itself_are_not_sent({ open }) {
    const client = await connected(open(POLLING));
    for (const name of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
      assert.throws(() => client.emit(name), /reserved/);
    }
  },

  async a_path_of_the_url_is_the_namespace({ server, open }) {
    server.connects = (session) => session.reply('40/room,{"sid":"s"}');
    const client = open({ ...POLLING, auth: { word: "please" } }, "/room");
    await connected(client);
    assert.equal(server.session.received[0], '40/room,{"word":"please"}');
    const heard = event(client, "n");
    server.session.reply('42["n","for another"]', '42/room,["n","for this"]');
    assert.equal(await deadline("the event", heard), "for this");
  },
};

/** Plays the server of one rule. */
class Server {
  handshake = { upgrades: [], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 };
  requests = [];
  sessions = [];
  violations = [];
  /** Answers the first packet. */
  connects = (session) => session.reply(`40{"sid":"socket of ${session.sid}"}`);
  /** Answers an event: an echo for those who want one. */
  events = (session, packet) => {
    const [, id, args] = /^42(\d+)\["echo",(.*)\]$/s.exec(packet) ?? [];
    if (id) session.reply(`43${id}[${args}]`);
  };
  /** Answers a probe. */
  probed = (ws) => ws.send("3probe");
  refuses;
  #websockets = new WebSocketServer({ noServer: true });
  #http = createServer((request, response) => this.#serve(request, response));

  async start() {
    this.#http.on("upgrade", (request, socket, head) => {
      this.#websockets.handleUpgrade(request, socket, head, (ws) => this.#upgrade(request, ws));
    });
    await new Promise((listening) => this.#http.listen(0, "127.0.0.1", listening));
    this.url = `http://127.0.0.1:${this.#http.address().port}`;
    return this;
  }

  stop() {
    this.#websockets.clients.forEach((ws) => ws.terminate());
    this.#http.closeAllConnections();
    this.#http.close();
  }

  /** The newest. */
  get session() {
    return this.sessions.at(-1);
  }

  /** Lets probes wait for their answer until the function is called. */
  holdProbe() {
    let release;
    const released = new Promise((resolve) => { release = resolve; });
    this.probed = (ws) => released.then(() => ws.send("3probe"));
    return release;
  }

  #note(request, method) {
    const query = Object.fromEntries(new URL(request.url, this.url).searchParams);
    this.requests.push({ method, query });
    return this.sessions.find(({ sid, isForgotten }) => sid === query.sid && !isForgotten);
  }

  #begin() {
    const session = new Session(this, `session-${this.sessions.length}`);
    this.sessions.push(session);
    session.reply(`0${JSON.stringify({ sid: session.sid, ...this.handshake })}`);
    return session;
  }

  #serve(request, response) {
    const known = this.#note(request, request.method);
    const isUnknown = !known && new URL(request.url, this.url).searchParams.has("sid");
    if (this.refuses || isUnknown) return response.writeHead(this.refuses ?? 400).end();
    const session = known ?? this.#begin();
    if (request.method === "GET") session.get(response);
    else session.post(request, response);
  }

  #upgrade(request, ws) {
    const known = this.#note(request, "WS");
    if (known) return known.probe(ws);
    this.handshake.upgrades = [];
    const session = this.#begin();
    session.takeOver(ws);
  }
}

class Session {
  /** Payloads of POSTs, packets in all, frames of the WebSocket. */
  posts = [];
  received = [];
  frames = [];
  ws;
  #queue = [];
  #get;
  #inPost = false;
  #postsHeld;
  #watchers = new Set();

  constructor(server, sid) {
    this.server = server;
    this.sid = sid;
  }

  /** Sends packets, in one payload where that is possible. */
  reply(...packets) {
    this.#queue.push(...packets);
    this.#flush();
  }

  /** Lets POSTs wait for their answer until the function is called. */
  holdPosts() {
    let release;
    this.#postsHeld = new Promise((resolve) => { release = resolve; });
    return release;
  }

  /** From now on its sid is unknown. */
  forget() {
    this.isForgotten = true;
    this.#get?.writeHead(400);
    this.#answer('{"code":1,"message":"Session ID unknown"}');
  }

  async until(condition) {
    const met = new Promise((resolve) => {
      const check = () => condition(this) && resolve(this.#watchers.delete(check));
      this.#watchers.add(check);
      check();
    });
    await deadline("the client", met, 20_000, () => JSON.stringify({ received: this.received, frames: this.frames }));
  }

  get(response) {
    if (this.#get) this.server.violations.push("two GETs at a time");
    this.#get = response;
    response.on("close", () => {
      if (this.#get === response) this.#get = undefined;
    });
    this.#flush();
  }

  async post(request, response) {
    if (this.#inPost) this.server.violations.push("two POSTs at a time");
    this.#inPost = true;
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    if (!request.headers["content-type"]?.startsWith("text/plain")) this.server.violations.push("a POST that is no text");
    this.posts.push(body);
    body.split(SEPARATOR).forEach((packet) => this.#receive(packet));
    await this.#postsHeld;
    this.#inPost = false;
    response.end("ok");
  }

  probe(ws) {
    ws.on("error", () => {});
    for (const end of ["pong", "close"]) ws.on(end, () => this.#change(() => { this.isProbed = true; }));
    ws.on("message", (data, isBinary) => this.#change(() => {
      const frame = isBinary ? "binary" : data.toString();
      this.frames.push(frame);
      if (this.ws) return this.#receive(frame);
      if (frame === "2probe") {
        this.server.probed(ws);
        // As the server does: the client waits for the end of its GET.
        return this.#answer("6");
      }
      if (frame !== "5") return this.server.violations.push(`${frame} on a probing WebSocket`);
      if (this.#get || this.#inPost) this.server.violations.push("5 while a request is in progress");
      this.ws = ws;
      this.#flush();
    }));
  }

  takeOver(ws) {
    this.ws = ws;
    ws.on("message", (data) => this.#receive(data.toString()));
    ws.on("close", () => this.#change(() => {}));
    this.#flush();
  }

  #receive(packet) {
    this.#change(() => {
      this.received.push(packet);
      if (packet === "1") this.#answer("6");
      else if (/^40(\/|{|$)/.test(packet)) this.server.connects(this);
      else if (packet.startsWith("42")) this.server.events(this, packet);
    });
  }

  #flush() {
    if (this.ws) this.#queue.splice(0).forEach((packet) => this.ws.send(packet));
    else if (this.#get && this.#queue.length > 0) this.#answer(this.#queue.splice(0).join(SEPARATOR));
  }

  /** Ends the GET that waits, if there is one. */
  #answer(body) {
    this.#get?.end(body);
    this.#get = undefined;
  }

  #change(change) {
    change();
    this.#watchers.forEach((check) => check());
  }
}

async function connected(client) {
  if (!client.connected) await deadline("a connection", event(client, "connect"));
  return client;
}

const ask = (client, name, ...args) => client.timeout(20_000).emitWithAck(name, ...args);

/** The arguments of the next events of this name. */
function collect(client, name, count) {
  const all = [];
  return new Promise((resolve) => client.on(name, (...args) => all.push(args) === count && resolve(all)));
}

for (const [name, rule] of Object.entries(rules)) {
  const server = await new Server().start();
  const clients = [];
  const open = (options, path = "") => {
    const client = connect(server.url + path, { forceNew: true, ...options });
    clients.push(client);
    return client;
  };
  try {
    await rule({ server, open });
    assert.deepEqual(server.violations, []);
    console.log(`ok ${name}`);
  } catch (error) {
    throw new Error(`${which}: ${name.replaceAll("_", " ")}`, { cause: error });
  } finally {
    clients.forEach((client) => client.disconnect());
    server.stop();
  }
}
process.exit(0);
