// node one-port.mjs <url> <processes by the names of the workers> <name of one of them>: that one is killed.
import assert from "node:assert/strict";
import { client, deadline, event } from "../../../../cluster-tests/interop/client.mjs";

const [url, processes, victim] = process.argv.slice(2);
const kinds = [["websocket"], ["websocket"], ["polling", "websocket"], ["polling"]];
// Each with sockets in two namespaces over one connection.
const clients = await Promise.all(Array.from({ length: 32 }, async (_, number) => {
  const transports = kinds[number % kinds.length];
  const socket = client(url, { transports, reconnection: true, reconnectionDelay: 100 });
  const ws = socket.io.socket("/ws");
  const [worker, same] = await deadline("a welcome in both namespaces", Promise.all([event(socket, "welcome"), event(ws, "welcome")]));
  assert.equal(worker, same);
  const one = { socket, ws, worker, over: transports.join(), disconnects: 0 };
  socket.on("disconnect", () => { one.disconnects += 1; });
  return one;
}));
assert.ok(new Set(clients.map(({ worker }) => worker)).size > 1, "one worker has them all");

process.kill(JSON.parse(processes)[victim], "SIGKILL");
const back = clients.filter(({ worker }) => worker === victim).map(({ ws }) => event(ws, "welcome"));
for (const name of await deadline("all to be back", Promise.all(back), 30_000)) assert.notEqual(name, victim);
// A WebSocket that began as one has its session where its connection is, so nobody but the clients of that worker was disconnected.
const siblings = clients.filter(({ worker, over }) => worker !== victim && over === "websocket");
assert.ok(siblings.length > 0);
for (const { disconnects } of siblings) assert.equal(disconnects, 0, "a client of a sibling has noticed");
await deadline("everybody to be connected", (async () => {
  while (!clients.every(({ socket }) => socket.connected)) await new Promise((resolve) => setTimeout(resolve, 20));
})(), 30_000);
process.exit(0);
