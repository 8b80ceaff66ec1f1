// node run.mjs <case> <entry> <node>...
import * as cases from "./cases.mjs";
import { disconnectAll } from "./client.mjs";

const [name, entry, ...nodes] = process.argv.slice(2);
if (!(name in cases) || nodes.length === 0) {
  console.error(`usage: node run.mjs ${Object.keys(cases).join("|")} <entry url> <node url>...`);
  process.exit(64);
}
const started = performance.now();
const result = await cases[name]({ entry, nodes });
console.log(`${name}: ok in ${Math.round(performance.now() - started)} ms${result ? `, ${result}` : ""}`);
disconnectAll();
process.exit(0);
