// node served-by.mjs <url> <path> <name of a node>...: clients come until each of the nodes has served one, over every transport.
import assert from "node:assert/strict";
import { client, deadline, event } from "../../../../cluster-tests/interop/client.mjs";

const [url, path, ...names] = process.argv.slice(2);
for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  const waiting = new Set(names);
  const served = async () => {
    while (waiting.size > 0) {
      const one = client(url, { path, transports, reconnection: true, reconnectionDelay: 100 });
      const name = await event(one, "welcome");
      assert.ok(names.includes(name), `${name} is no node any more`);
      waiting.delete(name);
      one.disconnect();
    }
  };
  await deadline("a client on every node", served(), 20_000, () => `none was on ${[...waiting]}`);
}
process.exit(0);
