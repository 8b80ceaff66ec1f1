// node hello.mjs <url>
import assert from "node:assert/strict";
import { client, connected, emit } from "../../../cluster-tests/interop/client.mjs";

const [url] = process.argv.slice(2);
const one = await connected(client(url));
assert.equal(await emit(one, "hello", "Ann"), "Hello, Ann!");
assert.match(await (await fetch(url)).text(), /Socket\.IO client/);
process.exit(0);
