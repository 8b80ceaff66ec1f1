// node named-servers.mjs <url of the load balancer> <name of a server>...
import assert from "node:assert/strict";
import { client, connected, deadline, emit } from "../../../../cluster-tests/interop/client.mjs";

const [url, ...names] = process.argv.slice(2);
const kinds = [["polling"], ["websocket"], ["polling", "websocket"]];
const users = await Promise.all(Array.from({ length: 4 * names.length }, async (_, number) => {
  const name = `user ${number}`;
  const socket = await connected(client(url, { auth: { name }, transports: kinds[number % kinds.length] }));
  const told = [];
  socket.on("told", (message, ack) => { told.push(message); ack(); });
  return { name, socket, told, server: await emit(socket, "where") };
}));
assert.deepEqual([...new Set(users.map(({ server }) => server))].sort(), [...names].sort(), "each server has users");

// Everybody writes to somebody on every server, and hears that it arrived.
for (const server of names) {
  const to = users.find((user) => user.server === server);
  const outcomes = users.filter((from) => from !== to).map((from) => emit(from.socket, "tell", to.name, `from ${from.server}`));
  for (const outcome of await deadline("the acks", Promise.all(outcomes))) assert.deepEqual(outcome, { heard: 1, missing: 0 });
  assert.equal(to.told.length, users.length - 1, "each once");
  assert.deepEqual([...new Set(to.told.map(({ text }) => text))].sort(), names.map((name) => `from ${name}`).sort());
}
process.exit(0);
