// node chat.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const nobody = await deadline("a refusal", event(client(here, { auth: { name: " " } }), "connect_error"));
assert.equal(nobody.message, "what is your name?");

const ann = await connected(client(here, { auth: { name: "Ann" } }));
const ben = await connected(client(there, { auth: { name: "Ben" } }));
const eve = await connected(client(there, { auth: { name: "Eve" } }));
eve.onAny((name) => assert.fail(`${name} reached somebody who is not in the room`));

assert.deepEqual(await emit(ann, "join", "kitchen"), { people: ["Ann"], said: [] });
const came = heard(ann, "joined");
assert.deepEqual((await emit(ben, "join", "kitchen")).people, ["Ann", "Ben"]);
assert.deepEqual(await deadline("who came", came), ["kitchen", "Ben"]);

const typing = heard(ann, "typing");
const tellingAgain = setInterval(() => ben.emit("typing", "kitchen"), 20); // it may be dropped
assert.deepEqual(await deadline("the notice", typing), ["kitchen", "Ben"]);
clearInterval(tellingAgain);

const said = event(ann, "message");
const message = { room: "kitchen", from: "Ben", text: "hello €" };
assert.deepEqual(await emit(ben, "message", "kitchen", "hello €"), message);
assert.deepEqual(await deadline("the message", said), message);

// Whoever comes later finds both, on any node and device.
const cid = await connected(client(here, { auth: { name: "Cid" } }));
assert.deepEqual(await emit(cid, "join", "kitchen"), { people: ["Ann", "Ben", "Cid"], said: [message] });
const bens = await connected(client(here, { auth: { name: "Ben" } }));
assert.deepEqual(await emit(bens, "join", "kitchen"), { people: ["Ann", "Ben", "Cid"], said: [message] });

// Every device of Ben hears what is for him alone, and Ann's other one.
const anns = await connected(client(there, { auth: { name: "Ann" } }));
for (const one of [ann, cid]) one.on("told", () => assert.fail("told to somebody else"));
const told = [ben, bens, anns].map((one) => heard(one, "told"));
await emit(ann, "tell", "Ben", "only for you");
for (const one of await deadline("a private message", Promise.all(told))) {
  assert.deepEqual(one, ["Ann", "Ben", "only for you"]);
}

// Who loses the connection has left.
const lost = heard(ann, "left");
cid.disconnect();
assert.deepEqual(await deadline("who was lost", lost), ["kitchen", "Cid"]);
assert.deepEqual(await emit(ann, "who", "kitchen"), ["Ann", "Ben"]);

assert.equal((await emit(eve, "who", "kitchen")).error.code, "not_a_member");
assert.equal((await emit(eve, "message", "kitchen", "psst")).error.code, "not_a_member");
assert.equal((await emit(ben, "message", "kitchen", "x".repeat(10_001))).error.code, "too_long");

const gone = heard(ann, "left");
await emit(ben, "leave", "kitchen");
assert.deepEqual(await deadline("who left", gone), ["kitchen", "Ben"]);
// A name is no way into the rooms of people.
await emit(eve, "join", "person:Ben");
await emit(ann, "tell", "Ben", "still only for you");
await emit(eve, "tell", "nobody", "is everything here that was sent?");
assert.match(await (await fetch(here)).text(), /<title>chat<\/title>/);
process.exit(0);

/** The arguments of the next event of this name. */
function heard(one, name) {
  return new Promise((resolve) => one.once(name, (...args) => resolve(args)));
}
