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

await emit(ann, "join", "kitchen");
const came = heard(ann, "joined");
await emit(ben, "join", "kitchen");
assert.deepEqual(await deadline("who came", came), ["kitchen", "Ben"]);

const typing = heard(ann, "typing");
const tellingAgain = setInterval(() => ben.emit("typing", "kitchen"), 20); // it may be dropped
assert.deepEqual(await deadline("the notice", typing), ["kitchen", "Ben"]);
clearInterval(tellingAgain);

const said = event(ann, "message");
const message = { room: "kitchen", from: "Ben", text: "hello €" };
assert.deepEqual(await emit(ben, "message", "kitchen", "hello €"), message);
assert.deepEqual(await deadline("the message", said), message);

assert.equal((await emit(eve, "message", "kitchen", "psst")).error.code, "not_a_member");
assert.equal((await emit(ben, "message", "kitchen", "x".repeat(10_001))).error.code, "too_long");

const gone = heard(ann, "left");
await emit(ben, "leave", "kitchen");
assert.deepEqual(await deadline("who left", gone), ["kitchen", "Ben"]);
assert.match(await (await fetch(here)).text(), /<title>chat<\/title>/);
process.exit(0);

/** The arguments of the next event of this name. */
function heard(one, name) {
  return new Promise((resolve) => one.once(name, (...args) => resolve(args)));
}
