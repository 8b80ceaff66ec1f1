// What the official client does against a cluster. Every case gets the entry (a stateless round-robin load balancer) and the nodes.
import assert from "node:assert/strict";
import { createServer, connect } from "node:net";
import { VERSIONS, client, connected, deadline, emit, event } from "./client.mjs";

export async function polling_only({ entry, nodes }) {
  const one = await connected(client(entry, { transports: ["polling"] }));
  await echoes(one, 50);
  await reaches(nodes, one);
  assert.equal(one.io.engine.transport.name, "polling");
}

export async function websocket_only({ entry, nodes }) {
  const one = await connected(client(entry, { transports: ["websocket"] }));
  await echoes(one, 200);
  await reaches(nodes, one);
  assert.equal(one.io.engine.transport.name, "websocket");
}

export async function default_upgrade({ entry, nodes }) {
  // Several at once, because which nodes take part in an upgrade is a matter of turns.
  await Promise.all(Array.from({ length: 9 }, async () => {
    const one = client(entry);
    const upgraded = event(one.io.engine, "upgrade");
    await connected(one);
    // What is sent before, during and after the upgrade arrives once and in order.
    await echoes(one, 100);
    await deadline("the upgrade", upgraded);
    assert.equal(one.io.engine.transport.name, "websocket");
    await echoes(one, 100);
    await reaches(nodes, one);
  }));
}

export async function rooms_across_nodes({ entry, nodes }) {
  const members = await Promise.all(everyKind().flatMap((kind) => nodes.map((node) => connected(client(node, kind)))));
  const outsider = await connected(client(entry));
  const received = new Map([...members, outsider].map((one) => [one, []]));
  for (const [one, messages] of received) one.on("msg", (payload) => messages.push(payload));
  await Promise.all(members.map((one) => emit(one, "join", "room")));

  members.forEach((one, number) => one.emit("msg", "room", number));
  const others = (one) => members.filter((other) => other !== one).map((other) => members.indexOf(other));
  await deadline("every member's message", until(() =>
    members.every((one) => received.get(one).length >= members.length - 1)));
  await settle(members);
  for (const one of members) assert.deepEqual(received.get(one).sort((a, b) => a - b), others(one));
  assert.deepEqual(received.get(outsider), [], "nothing for those who did not join");
}

export async function acks({ entry, nodes }) {
  const values = [0, "", null, true, [1, [2]], { a: { b: "c" } }, "€ 😀", 1.5, "x".repeat(100_000)];
  for (const url of [entry, ...nodes]) {
    for (const transports of [["polling"], ["websocket"]]) {
      const one = await connected(client(url, { transports }));
      for (const value of values) assert.deepEqual(await emit(one, "echo", value), value);
      const replies = await Promise.all(values.map((value) => emit(one, "echo", value)));
      assert.deepEqual(replies, values, "each its own");
    }
  }
}

/** The server asks, and the client answers with what it was asked. */
export async function asked({ entry, version }) {
  for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    const one = await connected(client(entry, { transports }));
    one.on("question", (payload, answer) => answer(payload));
    for (const value of [0, "€ 😀", null, { a: [true, "x"] }]) assert.deepEqual(await emit(one, "ask", value), value);
    // The client of the demo has no binary data.
    if (version === "own") continue;
    const { a: [bytes] } = await emit(one, "ask", { a: [Buffer.from([0, 4, 255])] });
    assert.deepEqual([...bytes], [0, 4, 255], `bytes over ${transports}`);
  }
}

/** What no handler hears is not taken for delivered: neither by who waits for its ack, nor by a client that sends again. */
export async function unheard({ entry }) {
  const one = await connected(client(entry));
  await assert.rejects(one.timeout(300).emitWithAck("unheard of"), /timed out/);
  const stubborn = await connected(client(entry, { retries: 1, ackTimeout: 20_000 }));
  const given = new Promise((done) => stubborn.timeout(300).emit("unheard of", (error) => done(error)));
  const next = stubborn.emitWithAck("echo", "next");
  assert.match(String(await deadline("the client to give up", given)), /timed out/);
  assert.equal(await deadline("the ack of what comes next", next), "next");
}

/** A client of every kind is back soon after the node that owned its session was killed, on another, and all is as usual. */
export async function back_after_its_node_was_killed({ entry, nodes, version }) {
  const kinds = version === "own" ? kindsOf("own") : everyKind();
  const resident = await connected(client(nodes[1]));
  const victim = await emit(resident, "pid");
  resident.disconnect();
  const everyone = await Promise.all(kinds.map((kind) => ownedBy(victim, entry, kind)));
  const back = everyone.map((one) => event(one, "connect"));
  // The process that calls itself by this id was started by the test.
  process.kill(victim, "SIGKILL");
  await deadline("all to be back", Promise.all(back), 40_000, () =>
    everyone.flatMap((one, n) => (one.connected ? [] : [JSON.stringify(kinds[n])])).join(" and "));

  for (const one of everyone) assert.notEqual(await emit(one, "pid"), victim);
  await Promise.all(everyone.map((one) => emit(one, "join", "back")));
  for (const [n, from] of everyone.entries()) {
    const heard = Promise.all(everyone.filter((one) => one !== from).map((one) => event(one, "msg")));
    from.emit("msg", "back", version === "own" ? { n } : { n, bytes: Buffer.from([n]) });
    for (const payload of await deadline("the message", heard)) {
      assert.equal(payload.n, n);
      if (version !== "own") assert.deepEqual([...payload.bytes], [n]);
    }
    from.on("question", (payload, answer) => answer(payload));
    assert.equal(await emit(from, "ask", n), n);
  }
}

export async function binary_both_ways({ entry, nodes }) {
  const bytes = (length) => Buffer.from(Uint8Array.from({ length }, (_, n) => n * 31));
  // Over polling base64 makes them a third longer, and the limit of a payload is a million.
  for (const [transports, length] of [[["websocket"], 1_000_000], [["polling"], 740_000]]) {
    const one = await connected(client(entry, { transports }));
    const other = await connected(client(nodes[2], { transports }));
    const data = bytes(length);
    assert.ok(data.equals(await emit(one, "echo", data)), `echo over ${transports}`);
    const nested = await emit(one, "echo", { a: [data.subarray(0, 1000), "text", { b: data.subarray(0, 7) }] });
    assert.ok(nested.a[0].equals(data.subarray(0, 1000)) && nested.a[2].b.equals(data.subarray(0, 7)));
    // Others may use the same nodes.
    const room = `binary of ${other.id}`;
    await emit(other, "join", room);
    const received = event(other, "msg");
    one.emit("msg", room, data);
    assert.ok(data.equals(await deadline("the broadcast", received)), `broadcast over ${transports}`);
  }
}

/** Bytes that a client of each kind emits reach clients of every kind, at every node. */
export async function binary_between_versions({ nodes }) {
  const members = await Promise.all(
    everyKind().map((kind, number) => connected(client(nodes[number % nodes.length], kind))),
  );
  await Promise.all(members.map((one) => emit(one, "join", "binary")));
  for (const [number, from] of members.entries()) {
    const data = Buffer.from([number, 0, 255, 4, 0x62]);
    const others = members.filter((one) => one !== from);
    const received = Promise.all(others.map((one) => event(one, "msg")));
    from.emit("msg", "binary", { n: number, "€": [data, Buffer.alloc(0)] });
    for (const { n, "€": [bytes, none] } of await deadline("the bytes", received)) {
      assert.ok(n === number && data.equals(Buffer.from(bytes)) && none.length === 0);
    }
  }
}

/** Values that MessagePack has and JSON has not arrive as what `JSON.stringify` makes of them. */
export async function values_beyond_json({ entry, nodes }) {
  const one = await connected(client(entry, { transports: ["websocket"] }));
  const date = new Date(Date.UTC(2024, 1, 29, 12, 0, 0, 7));
  for (const value of [date, { a: undefined, b: [undefined, NaN] }, [-1, 2 ** 40, -(2 ** 40), 0.1, 1.5e-300]]) {
    assert.deepEqual(await emit(one, "echo", value), JSON.parse(JSON.stringify(value)));
  }
  const bytes = Uint8Array.from([1, 2, 3]);
  assert.deepEqual([...(await emit(one, "echo", bytes.buffer))], [1, 2, 3], "an ArrayBuffer");
  assert.deepEqual([...(await emit(one, "echo", { bytes })).bytes], [1, 2, 3], "a Uint8Array");

  const other = await connected(client(nodes[1], { transports: ["polling"] }));
  await emit(other, "join", "msgpack");
  const received = event(other, "msg");
  one.emit("msg", "msgpack", { date, bytes: [Buffer.from([0, 255]), Buffer.alloc(300, 7)], text: "€ 😀" });
  const { date: text, bytes: [short, long] } = await deadline("the event", received);
  assert.equal(text, date.toISOString());
  assert.ok(Buffer.from([0, 255]).equals(short) && Buffer.alloc(300, 7).equals(long));
}

/** A namespace that wants a word: CONNECT with auth, and CONNECT_ERROR with data. */
export async function a_guarded_namespace({ entry }) {
  const refused = client(`${entry}/guarded`, { auth: { word: "sesame" } });
  const error = await deadline("the refusal", event(refused, "connect_error"));
  assert.deepEqual([error.message, error.data], ["wrong word", 6]);
  await connected(client(`${entry}/guarded`, { auth: { word: "please" } }));
}

/** Clients of version 2 take the id of their connection for their own, and it is a secret: it reaches nobody. */
export async function the_id_of_version_2_reaches_nobody({ nodes }) {
  const one = await connected(client(nodes[0], { version: 2 }));
  const other = await connected(client(nodes[1]));
  const received = [];
  one.on("direct", (payload) => received.push(payload));
  const id = await emit(one, "whoami");
  assert.notEqual(id, one.id);
  await emit(other, "direct", one.id, "to the id it knows");
  const reached = event(one, "direct");
  await emit(other, "direct", id, "to its id");
  await deadline("the direct message", reached);
  await settle([one]);
  assert.deepEqual(received, ["to its id"]);
}

/** Where the nodes say so, it reaches them from any node, in every namespace. */
export async function the_id_of_version_2_reaches_it({ nodes }) {
  const one = await connected(client(nodes[0], { version: 2 }));
  for (const url of nodes) {
    const other = await connected(client(url));
    const reached = event(one, "direct");
    await emit(other, "direct", one.id, url);
    assert.equal(await deadline("the direct message", reached), url);
  }
  const received = [];
  one.on("direct", (payload) => received.push(payload));
  await emit(one, "direct", one.id, "to itself");
  await settle([one]);
  assert.deepEqual(received, [], "as to any room, the sender is left out");
}

/** What `emitWithAck` and `retries` make of what a handler says: docs/protocol/socket-io.md. */
export async function failures({ entry }) {
  const one = await connected(client(entry));
  assert.deepEqual(await one.timeout(20_000).emitWithAck("fail"), { error: { code: "full", message: "no room" } });
  const { error } = await one.timeout(20_000).emitWithAck("fail inside");
  assert.deepEqual(error, { code: "internal", message: "internal error" });
  assert.equal((await one.timeout(20_000).emitWithAck("fail", 7)).error.code, "full");
  assert.equal((await one.timeout(20_000).emitWithAck("join", 7)).error.code, "invalid_arguments");
  await assert.rejects(one.timeout(300).emitWithAck("silent"), /timed out/);

  const stubborn = await connected(client(entry, { retries: 2, ackTimeout: 20_000 }));
  const before = await emit(one, "failed");
  assert.equal((await stubborn.emitWithAck("fail")).error.code, "full");
  assert.equal(await emit(one, "failed"), before + 1, "an error is an ack: it is not sent again");
  const silent = await emit(one, "silences");
  await assert.rejects(stubborn.timeout(300).emitWithAck("silent"), /timed out/);
  // What comes after is answered when all of it is handled.
  await stubborn.emitWithAck("echo", "next");
  assert.equal(await emit(one, "silences"), silent + 3, "once, and twice again");
}

/** Long messages are a fraction of themselves on the wire, both ways, whichever nodes they pass. */
export async function deflate({ entry, nodes }) {
  const text = "all work and no play ".repeat(5000);
  for (const url of [entry, entry, entry, ...nodes]) {
    for (const transports of [["websocket"], ["polling", "websocket"]]) {
      const deflated = await echoed(url, { transports, perMessageDeflate: { threshold: 1024 } }, text);
      assert.match(deflated.extensions, /permessage-deflate/);
      assert.ok(deflated.sent < text.length / 10, `${deflated.sent} bytes sent`);
      assert.ok(deflated.received < text.length / 10, `${deflated.received} bytes received`);
    }
  }
  const plain = await echoed(entry, { transports: ["websocket"], perMessageDeflate: false }, text);
  assert.equal(plain.extensions, "");
  assert.ok(plain.sent > text.length && plain.received > text.length);
}

/** An echo through a proxy: what the WebSocket negotiated, and how many bytes passed while it carried the echo. */
async function echoed(url, options, text) {
  const { hostname, port } = new URL(url);
  let [sent, received] = [0, 0];
  const proxy = createServer((socket) => {
    const other = connect(port, hostname);
    socket.on("data", (data) => { sent += data.length; }).pipe(other).on("error", () => socket.destroy());
    other.on("data", (data) => { received += data.length; }).pipe(socket).on("error", () => other.destroy());
  });
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));
  const one = client(`http://127.0.0.1:${proxy.address().port}`, options);
  const upgraded = options.transports.length > 1 && event(one.io.engine, "upgrade");
  await connected(one);
  await deadline("the upgrade", Promise.resolve(upgraded));
  const before = [sent, received];
  assert.equal(await emit(one, "echo", text), text);
  assert.equal(one.io.engine.transport.name, "websocket");
  const { extensions } = one.io.engine.transport.ws;
  const passed = { extensions, sent: sent - before[0], received: received - before[1] };
  one.disconnect();
  proxy.close();
  return passed;
}

export async function targeted_emit({ nodes }) {
  const everyone = await Promise.all(nodes.flatMap((node) =>
    [["polling"], ["websocket"]].map((transports) => connected(client(node, { transports })))));
  const received = new Map(everyone.map((one) => [one, []]));
  for (const [one, messages] of received) one.on("direct", (payload) => messages.push(payload));
  for (const [number, from] of everyone.entries()) {
    await Promise.all(everyone.map((to) => to !== from && emit(from, "direct", to.id, `${number} to ${to.id}`)));
  }
  await deadline("every direct message", until(() =>
    everyone.every((one) => received.get(one).length >= everyone.length - 1)));
  await settle(everyone);
  for (const one of everyone) {
    const senders = everyone.flatMap((from, number) => (from === one ? [] : [number]));
    assert.deepEqual(received.get(one).sort(), senders.map((number) => `${number} to ${one.id}`).sort());
  }
}

export async function two_hundred_clients_in_twenty_rooms_each({ entry }) {
  const CLIENTS = 200, ROOMS = 100, ROOMS_EACH = 20, MESSAGES_EACH = 5;
  const transports = [["polling"], ["websocket"], ["polling", "websocket"]];
  const everyone = await Promise.all(Array.from({ length: CLIENTS }, (_, number) =>
    connected(client(entry, { transports: transports[number % 3] }))));
  const rooms = everyone.map((_, number) =>
    Array.from({ length: ROOMS_EACH }, (_, n) => `room-${(number * 7 + n * (1 + (number % 3))) % ROOMS}`));
  await Promise.all(everyone.map((one, number) =>
    Promise.all(rooms[number].map((room) => emit(one, "join", room)))));

  // Per receiver and sender: which numbers, in which order.
  const received = everyone.map(() => new Map());
  let count = 0;
  everyone.forEach((one, number) => one.on("msg", ({ from, n }) => {
    count += 1;
    const numbers = received[number].get(from) ?? [];
    numbers.push(n);
    received[number].set(from, numbers);
  }));
  const sent = everyone.map((_, number) =>
    Array.from({ length: MESSAGES_EACH }, (_, n) => rooms[number][(n * 3) % ROOMS_EACH]));
  const expected = everyone.map((_, receiver) => {
    const mine = new Set(rooms[receiver]);
    return new Map(sent.map((to, from) => [from, to.flatMap((room, n) => (mine.has(room) ? [n] : []))])
      .filter(([from, numbers]) => from !== receiver && numbers.length > 0));
  });
  const total = expected.reduce((sum, senders) => sum + [...senders.values()].flat().length, 0);

  everyone.forEach((one, from) => sent[from].forEach((room, n) => one.emit("msg", room, { from, n })));
  await deadline(`${total} messages`, until(() => count >= total), 60_000, () => `${count} arrived`);
  await settle(everyone);
  assert.equal(count, total);
  everyone.forEach((_, receiver) => {
    const sorted = new Map([...received[receiver]].sort(([a], [b]) => a - b));
    assert.deepEqual(sorted, expected[receiver], `client ${receiver} over ${transports[receiver % 3]}`);
  });
  return `${total} messages`;
}

// The server option `connectionStateRecovery` of Node, with the client's next connection on whichever node.
export async function recovered_on_any_node({ entry, nodes }) {
  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    const patient = { transports, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
    const one = await connected(client(`${entry}/recovered`, patient));
    one.off("disconnect");
    const other = await connected(client(`${nodes[0]}/recovered`));
    const [got, expected] = [[], ["first"]];
    one.on("msg", (payload) => got.push(payload));
    await Promise.all([one, other].map((each) => emit(each, "join", `room of ${transports}`)));
    const say = (what) => other.emit("msg", `room of ${transports}`, what);
    assert.equal(one.recovered, false);
    say("first");
    await deadline("the first message", until(() => got.length === 1));
    for (let round = 0; round < 6; round++) {
      const [{ id }, back] = [one, event(one, "connect")];
      one.io.engine.close();
      say(`missed ${round}`);
      await deadline("the client to be back", back);
      assert.deepEqual([one.recovered, one.id], [true, id]);
      say(`new ${round}`);
      expected.push(`missed ${round}`, `new ${round}`);
      await deadline("what was missed and what is new", until(() => got.length >= expected.length), 10_000, () => `${got}`);
    }
    assert.deepEqual(got, expected);
    one.disconnect();
  }
}

// The case of the official client's own suite.
export async function recovered_with_its_id({ entry }) {
  await eachTransport(entry, {}, async (one) => {
    for (const lose of [closed, cut, closed]) {
      const { id } = one;
      await lost(one, lose);
      assert.deepEqual([one.recovered, one.id], [true, id]);
      assert.equal(await emit(one, "whoami"), id);
    }
    // Who leaves by itself is another one when it is back.
    const { id } = one;
    await lost(one, () => one.disconnect());
    assert.equal(one.recovered, false);
    assert.notEqual(one.id, id);
  });
}

export async function what_was_missed_comes_before_connect({ entry, nodes }) {
  await eachTransport(entry, {}, async (one, room) => {
    const other = await connected(client(`${nodes.at(-1)}/recovered`));
    const order = [];
    one.on("msg", (payload) => order.push(payload));
    one.on("connect", () => order.push("connect"));
    await emit(one, "join", room);
    await lost(one, closed, async () => {
      for (const payload of ["missed", Buffer.from("bytes"), { deep: [1, null] }]) await emit(other, "msg", room, payload);
      await emit(other, "msg", one.id ?? "nobody", "for nobody");
    });
    await emit(other, "msg", room, "new");
    await deadline("all of it", until(() => order.length >= 5), 10_000, () => JSON.stringify(order));
    await settle([one, other]);
    assert.deepEqual(order, ["missed", Buffer.from("bytes"), { deep: [1, null] }, "connect", "new"]);
    other.disconnect();
  });
}

export async function what_it_emits_meanwhile_is_sent_once_it_is_back({ entry }) {
  await eachTransport(entry, {}, async (one) => {
    const got = [];
    one.on("mirrored", (number) => got.push(number));
    await lost(one, cut, () => [0, 1, 2].forEach((number) => one.emit("mirror", number)));
    one.emit("mirror", 3);
    await deadline("the mirror", until(() => got.length >= 4), 10_000, () => `${got}`);
    await settle([one]);
    assert.deepEqual([one.recovered, got], [true, [0, 1, 2, 3]]);
  });
}

export async function what_it_retries_arrives_in_order({ entry }) {
  await eachTransport(entry, { retries: 5, ackTimeout: 20_000 }, async (one) => {
    const [got, acked, numbers] = [[], [], Array.from({ length: 12 }, (_, number) => number)];
    one.on("mirrored", (number) => got.push(number));
    for (const number of numbers) one.emit("mirror", number, (error) => acked.push([number, error]));
    await deadline("some of it", until(() => acked.length >= 3));
    await lost(one, cut);
    await deadline("all of it", until(() => acked.length === numbers.length), 10_000, () => `${got}, ${acked}`);
    assert.equal(one.recovered, true);
    assert.deepEqual(acked, numbers.map((number) => [number, null]));
    await settle([one]);
    // It may have repeated the one that was on its way, not any other.
    assert.deepEqual(got.filter((number, at) => number !== got[at - 1]), numbers);
    assert.ok(got.length <= numbers.length + 1, `${got}`);
  });
}

export async function of_several_namespaces_each_is_recovered_by_itself({ entry }) {
  let asked = 0;
  await eachTransport(entry, { auth: (say) => say({ token: asked++ }) }, async (one) => {
    const plain = one.io.socket("/");
    await deadline("the other namespace", event(plain, "connect"));
    const [id, other, before] = [one.id, plain.id, asked];
    const back = event(plain, "connect");
    await lost(one, closed);
    await deadline("the other namespace again", back);
    assert.deepEqual([one.recovered, one.id, Boolean(plain.recovered)], [true, id, false]);
    assert.notEqual(plain.id, other);
    assert.equal(asked, before + 1);
    assert.equal(await emit(plain, "echo", 7), 7);
  });
}

const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];

/** Plays it with a client that may come back, and has a position, over every transport. */
async function eachTransport(entry, options, play) {
  for (const transports of TRANSPORTS) {
    const one = await connected(client(`${entry}/recovered`, { transports, ...options }));
    one.off("disconnect");
    assert.equal(one.recovered, false);
    const mirrored = event(one, "mirrored");
    one.emit("mirror", "a position");
    await deadline("a position", mirrored);
    await play(one, `room of ${one.id}`);
    one.disconnect();
  }
}

/** Loses its connection, does something meanwhile, and connects again. */
async function lost(one, lose, meanwhile = () => {}) {
  const gone = event(one, "disconnect");
  lose(one);
  await deadline("the client to notice", gone);
  await meanwhile();
  const back = event(one, "connect");
  one.connect();
  await deadline("the client to be back", back);
}

function closed(one) {
  one.io.engine.close();
}

/** Without a word to the server, where the transport can. */
function cut(one) {
  const { ws } = one.io.engine.transport;
  ws ? ws.terminate() : one.io.engine.close();
}

/** Clients of every version over every transport. */
function everyKind() {
  return VERSIONS.flatMap(kindsOf);
}

function kindsOf(version) {
  return [["polling"], ["websocket"], ["polling", "websocket"]].map((transports) => ({ version, transports }));
}

/** A client, through the balancer, whose session belongs to the node of this process, and that reconnects. */
async function ownedBy(pid, entry, kind) {
  const patient = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500 };
  for (let attempt = 0; attempt < 40; attempt++) {
    const one = await connected(client(entry, { ...kind, ...patient }));
    if ((await emit(one, "pid")) === pid) {
      // Here a disconnection is what is expected.
      one.off("disconnect");
      return one;
    }
    one.disconnect();
  }
  throw new Error(`no session of ${JSON.stringify(kind)} belongs to ${pid}`);
}

/** Acknowledged echoes without a pause in between: all answered, each with its own, in order. */
async function echoes(one, count) {
  const order = [];
  await Promise.all(Array.from({ length: count }, async (_, n) => {
    assert.equal(await emit(one, "echo", n), n);
    order.push(n);
  }));
  assert.deepEqual(order, Array.from({ length: count }, (_, n) => n));
}

/** A client of every node is heard by this one, and hears it. */
async function reaches(nodes, one) {
  const room = `around ${one.id}`;
  await emit(one, "join", room);
  for (const node of nodes) {
    const other = await connected(client(node));
    await emit(other, "join", room);
    const [here, there] = [event(one, "msg"), event(other, "msg")];
    other.emit("msg", room, "to one");
    one.emit("msg", room, "to the other");
    assert.deepEqual(await deadline("both ways", Promise.all([here, there])), ["to one", "to the other"]);
    other.disconnect();
  }
}

/** What a server sent a client before it acknowledged has arrived there: time for what should not have been sent. */
async function settle(clients) {
  for (let round = 0; round < 2; round++) await Promise.all(clients.map((one) => emit(one, "echo", "settled?")));
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
