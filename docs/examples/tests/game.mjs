// node game.mjs <url of a node> <url of another> [<process of the other, which is killed>]; a seat is kept for 3 s
import assert from "node:assert/strict";
import { client, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [here, there, pid] = process.argv.slice(2);
const guessed = await deadline("a refusal", event(client(here, { auth: { token: "ann" } }), "connect_error"));
assert.match(guessed.message, /nobody guesses/);

const run = Math.random();
const [ann, ben, eve] = await Promise.all([player(here, "ann"), player(there, "ben"), player(there, "eve")]);
const [game, seat] = await emit(ann, "open");
assert.equal(seat, 1);
assert.equal(await emit(ben, "enter", game), 2, "a game of another node");
assert.equal((await emit(eve, "enter", "game:nobody")).error.code, "no_seat");
assert.equal(await emit(ann, "enter", game), 1, "the same seat");

ben.emit("steer", 5, -0.5);
for (const one of [ann, ben]) await state(one, "Ben at the edge", (seats) => seats[2]?.x === 1 && seats[2].y < 0.5);
const rest = await state(ann, "Ann at rest", (seats) => seats[1]);
assert.deepEqual([rest[1].x, rest[1].y], [0.5, 0.5]);
assert.ok(!("token" in rest[1]) && !("socket" in rest[1]), "nobody learns what others are known by");

const started = Date.now();
for (let count = 0; count < 20; count += 1) await state(ann, "the next state", () => true);
assert.ok(Date.now() - started > 700, "20 states in a second, not more");

// Ben loses the connection, is seen to be away, and has his seat when he comes back with another.
const lost = ben.id;
ben.io.engine.close();
await state(ann, "Ben away", (seats) => seats[2]?.away);
ben.connect();
await deadline("another connection", event(ben, "connect"));
assert.notEqual(ben.id, lost);
assert.equal(await emit(ben, "enter", game), 2);
const back = await state(ben, "Ben back", (seats) => !seats[2].away);
assert.equal(back[2].x, 1, "where he was");

// Who does not come back loses the seat, and it is somebody else's.
assert.equal(await emit(eve, "enter", game), 3);
eve.disconnect();
await state(ann, "Eve away", (seats) => seats[3]?.away);
await state(ann, "Eve gone", (seats) => !seats[3]);
assert.equal(await emit(await player(here, "cid"), "enter", game), 3);

// The players of a node that was killed are away as well, and come back through another one.
if (pid) {
  process.kill(Number(pid), "SIGKILL");
  await state(ann, "Ben away", (seats) => seats[2]?.away);
  assert.equal(await emit(await player(here, "ben"), "enter", game), 2);
}
assert.match(await (await fetch(here)).text(), /<title>game<\/title>/);
process.exit(0);

async function player(url, name) {
  const one = client(url, { auth: { token: `the secret of ${name}, of this run ${run}` } });
  await deadline("a connection", event(one, "connect"));
  return one;
}

/** The seats by number, in the first state that is as wanted. */
function state(one, what, wanted) {
  let last;
  return deadline(what, new Promise((resolve) => {
    one.on("state", function see(seats) {
      last = Object.fromEntries(seats.map((seat) => [seat.number, seat]));
      if (!wanted(last)) return;
      one.off("state", see);
      resolve(last);
    });
  }), 20_000, () => JSON.stringify(last));
}
