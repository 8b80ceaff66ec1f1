// node private.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const of = (name, url) => connected(client(url, { auth: { name } }));
const ann = await of("ann", here);
const annsPhone = await of("ann", there);
const bens = [await of("ben", here), await of("ben", there)];
const eve = await of("eve", here);
for (const one of [eve, ann]) one.on("told", () => assert.fail("told to somebody else"));

const told = Promise.all([...bens, annsPhone].map((one) => event(one, "told")));
assert.equal(await emit(ann, "tell", "ben", "only for you"), 2, "as many devices");
for (const one of await deadline("the message on every device", told)) {
  assert.deepEqual(one, { from: "ann", to: "ben", text: "only for you" });
}
assert.equal(await emit(ann, "tell", "nobody", "hello?"), 0);
// A name is no way into the room of a socket.
await emit(ann, "tell", eve.id, "psst");
await emit(eve, "tell", "nobody", "is everything here that was sent?");
process.exit(0);
