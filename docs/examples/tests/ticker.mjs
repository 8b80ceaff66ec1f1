// node ticker.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline } from "../../../cluster-tests/interop/client.mjs";

const nodes = await Promise.all(process.argv.slice(2).map(async (url) => {
  const prices = [];
  const one = await connected(client(`${url}/prices`));
  const enough = new Promise((resolve) => one.on("price", (price) => prices.push(price) === 4 && resolve()));
  await deadline("four prices", enough);
  const numbers = prices.map(({ number }) => number);
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
  assert.equal(new Set(numbers).size, numbers.length, "each once");
  assert.equal(new Set(prices.map(({ node }) => node)).size, 1, "its own node only");
  return prices[0].node;
}));
assert.equal(new Set(nodes).size, nodes.length, "every node tells its clients");
process.exit(0);
