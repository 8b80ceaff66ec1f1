// node private.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline, emit } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const of = (name, url) => connected(client(url, { auth: { name } }));
const ann = await of("ann", here);
const annsPhone = await of("ann", there);
const bens = [await of("ben", here), await of("ben", there)];
const eve = await of("eve", here);
for (const one of [eve, ann]) one.on("told", () => assert.fail("told to somebody else"));

// The sender's own device is not asked to confirm.
const heard = (one) => new Promise((resolve) => one.once("told", (message, ack) => resolve([message, ack])));
const [phone, ...devices] = [annsPhone, ...bens].map(heard);
const delivered = emit(ann, "tell", "ben", "only for you");
const message = { from: "ann", to: "ben", text: "only for you" };
assert.deepEqual(await deadline("the message on the phone", phone), [message, undefined]);
for (const [one, ack] of await deadline("the message on every device", Promise.all(devices))) {
  assert.deepEqual(one, message);
  ack();
}
assert.deepEqual(await delivered, { heard: 2, missing: 0 });
assert.deepEqual(await emit(ann, "tell", "nobody", "hello?"), { heard: 0, missing: 0 });

// A device that does not confirm is counted.
bens[0].once("told", (_, ack) => ack());
assert.deepEqual(await emit(ann, "tell", "ben", "are you there?"), { heard: 1, missing: 1 });

// A name is no way into the room of a socket.
await emit(ann, "tell", eve.id, "psst");
await emit(eve, "tell", "nobody", "is everything here that was sent?");

const [one, other] = [await emit(ann, "where"), await emit(annsPhone, "where")];
assert.ok(one && other && one !== other, "each node has a name");
process.exit(0);
