// node typed.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline, emit } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const one = await connected(client(`${here}/game`));
const other = await connected(client(`${there}/game`));
const heard = (name) => deadline(name, new Promise((resolve) => one.once(name, (...args) => resolve(args))));

assert.equal((await emit(other, "walk", 1, 1)).error.code, "nowhere");
await emit(one, "enter", "forest");

const entered = heard("entered");
await emit(other, "enter", "forest");
assert.deepEqual(await entered, [other.id]);

const walked = heard("walked");
await emit(other, "walk", 1, -2);
assert.deepEqual(await walked, [other.id, 1, -2]);

const said = heard("said");
await emit(other, "say", { text: "hello" });
assert.deepEqual(await said, [{ who: other.id, text: "hello" }]);

assert.equal((await emit(other, "walk", "far")).error.code, "invalid_arguments");
other.emit("fly", () => assert.fail("there is no such event"));

one.on("said", () => assert.fail("heard from another place"));
await emit(other, "enter", "cave");
await emit(other, "say", { text: "echo" });
await emit(one, "say", { text: "is everything here that was sent?" });
process.exit(0);
