// node prefix.mjs <url of the load balancer> <processes by the names of the nodes>: clients under the prefix /chat hear each hello once, of
// one node; it is killed, and they hear those of another one.
import assert from "node:assert/strict";
import { client, deadline } from "../../../../cluster-tests/interop/client.mjs";

const [url, processes] = process.argv.slice(2);
const kinds = [["polling"], ["websocket"], ["polling", "websocket"]];
const clients = ["2", "4"].flatMap((version) => kinds.flatMap((transports) => [0, 1, 2].map(() => {
  const options = { version, transports, path: "/chat/socket.io/", reconnection: true, reconnectionDelay: 100, reconnectionDelayMax: 500 };
  const one = { hellos: [], socket: client(url, options) };
  one.socket.on("hello", (hello) => one.hellos.push(hello));
  return one;
})));
const all = (what, holds) => deadline(what, new Promise((resolve) => {
  const checking = setInterval(() => { if (clients.every(holds)) resolve(clearInterval(checking)); }, 20);
}), 30_000);

await all("five hellos for everybody", ({ hellos }) => hellos.length >= 5);
const [{ node: leader }] = clients[0].hellos;
for (const { hellos } of clients) {
  assert.ok(hellos.every(({ node }) => node === leader), "all of one node");
  assert.deepEqual(hellos.map(({ number }) => number), hellos.map((_, n) => hellos[0].number + n), "each once");
}
process.kill(JSON.parse(processes)[leader], "SIGKILL");
await all("hellos of another node", ({ socket, hellos }) => socket.connected && hellos.at(-1).node !== leader);
const next = clients[0].hellos.at(-1).node;
for (const one of clients) one.hellos.length = 0;
await all("five more", ({ hellos }) => hellos.length >= 5);
for (const { hellos } of clients) assert.ok(hellos.every(({ node }) => node === next), "all of one node again");
assert.equal((await fetch(`${url}/socket.io/?EIO=4&transport=polling`)).status, 404, "nothing is outside of the prefix");
process.exit(0);
