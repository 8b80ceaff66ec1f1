// node whiteboard.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline, emit } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const [artist, viewer] = [await connected(client(here)), await connected(client(there))];
const seen = [];
const cleared = new Promise((resolve) => viewer.once("clear", resolve));
viewer.on("stroke", (stroke) => seen.push(stroke));

const strokes = Array.from({ length: 50 }, (_, n) => (
  { from: { x: n / 64, y: 0 }, to: { x: n / 64, y: 0.5 }, color: "crimson" }
));
for (const stroke of strokes) artist.emit("stroke", stroke);
artist.emit("clear");
await deadline("the board to be cleared", cleared);
assert.deepEqual(seen, strokes, "all of them before, in their order");

assert.equal((await emit(artist, "stroke", { ...strokes[0], color: "url(x)" })).error.code, "unknown_color");
assert.equal((await emit(artist, "stroke", { ...strokes[0], to: { x: 2, y: 0 } })).error.code, "off_the_board");

const pointer = new Promise((resolve) => viewer.once("pointer", (...args) => resolve(args)));
const moving = setInterval(() => artist.emit("pointer", { x: 0.25, y: 0.5 }), 20); // it may be dropped
assert.deepEqual(await deadline("the pointer", pointer), [artist.id, { x: 0.25, y: 0.5 }]);
clearInterval(moving);

// Clients of versions 2 and 4 are invited by a node that they are not connected to, and only they see the small board.
const guests = await Promise.all(["2", "4"].map((version) => connected(client(there, { version }))));
viewer.on("sketch", () => assert.fail("nobody has invited this one"));
const sketched = Promise.all(guests.map((guest) => new Promise((resolve) => guest.once("sketch", (...args) => resolve(args)))));
for (const guest of guests) await emit(artist, "invite", await emit(guest, "whoami"), "small");
artist.emit("sketch", "small", strokes[0]);
assert.deepEqual(await deadline("the sketch", sketched), guests.map(() => ["small", strokes[0]]));
assert.match(await (await fetch(there)).text(), /<title>whiteboard<\/title>/);
process.exit(0);
