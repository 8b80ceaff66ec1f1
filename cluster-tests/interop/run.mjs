// node run.mjs <case>[@<version of the client>],... <entry> <node>... (`own` is the client of the demo)
import * as cases from "./cases.mjs";
import { disconnectAll, use } from "./client.mjs";

const [names = "", entry, ...nodes] = process.argv.slice(2);
const wanted = names.split(",").map((name) => name.split("@"));
if (!wanted.every(([name]) => name in cases) || nodes.length === 0) {
  console.error(`usage: node run.mjs ${Object.keys(cases).join("|")}[@2|3|4.0|4|msgpack|msgpack2|own],... <entry url> <node url>...`);
  process.exit(64);
}
for (const [name, version = 4] of wanted) {
  use(version);
  const started = performance.now();
  const result = await cases[name]({ entry, nodes, version });
  const took = Math.round(performance.now() - started);
  console.log(`${name}@${version}: ok in ${took} ms${result ? `, ${result}` : ""}`);
  disconnectAll();
}
process.exit(0);
