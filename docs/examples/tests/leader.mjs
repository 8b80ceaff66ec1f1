// node leader.mjs <url of a node> <url of another>
import assert from "node:assert/strict";
import { client, connected, deadline } from "../../../cluster-tests/interop/client.mjs";

const [here, there] = process.argv.slice(2);
const leaders = await Promise.all([here, there, `${here}/ws`, `${there}/ws`].map(async (url) => {
  const hellos = [];
  const one = await connected(client(url));
  const enough = new Promise((resolve) => one.on("hello", (hello) => hellos.push(hello) === 5 && resolve()));
  await deadline("five hellos", enough);
  const numbers = hellos.map(({ number }) => number);
  assert.deepEqual(numbers, numbers.map((_, n) => numbers[0] + n), "each once");
  assert.equal(new Set(hellos.map(({ node }) => node)).size, 1, "of one node");
  return hellos[0].node;
}));
assert.equal(new Set(leaders).size, 1, "the same for everybody");
process.exit(0);
