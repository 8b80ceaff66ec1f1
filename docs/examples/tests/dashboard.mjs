// node dashboard.mjs <url of a node> <url of another> <password> <the other origin>
import assert from "node:assert/strict";
import { client, connected, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [here, there, password, origin] = process.argv.slice(2);
const elsewhere = "https://evil.example";
assert.equal((await login(here, "ann", "a guess")).status, 403);
const answer = await login(here, "ann", password);
assert.equal(answer.headers.get("location"), "/");
for (const attribute of [/; HttpOnly/i, /; SameSite=Lax/i, /; Path=\//i]) {
  assert.match(answer.headers.get("set-cookie"), attribute);
}
const [anns, bens] = [cookie(answer), cookie(await login(there, "ben", password))];

assert.equal(await refused({}), "log in first");
assert.equal(await refused({ cookie: `${anns.slice(0, -8)}AAAAAAAA` }), "log in first");
const windows = [dashboard(here, { cookie: anns }), dashboard(there, { cookie: `theme=dark; ${anns}` })];
await deadline("both connections", Promise.all(windows.map((one) => event(one, "connect"))));
for (const one of windows) assert.equal(await emit(one, "whoami"), "ann");
const ben = await connected(dashboard(there, { cookie: bens }));

// What the application does reaches the dashboards of all nodes.
const shown = [...windows, ben].map((one) => event(one, "order"));
assert.equal((await fetch(`${here}/orders/tea`, { method: "POST" })).status, 202);
assert.deepEqual(await deadline("the order", Promise.all(shown)), ["tea", "tea", "tea"]);

// Pages of one other origin may ask with the cookie; a WebSocket of any other is refused, whatever cookie it has.
const polled = (from) => fetch(`${here}/socket.io/?EIO=4&transport=polling`, { headers: { origin: from } });
const [allowed, not] = [(await polled(origin)).headers, (await polled(elsewhere)).headers];
assert.equal(allowed.get("access-control-allow-origin"), origin);
assert.equal(allowed.get("access-control-allow-credentials"), "true");
assert.notEqual(not.get("access-control-allow-origin"), elsewhere);
const websocket = { transports: ["websocket"] };
await connected(dashboard(here, { cookie: bens, origin }, websocket));
await connected(dashboard(here, { cookie: bens, origin: here }, websocket));
await refused({ cookie: bens, origin: elsewhere }, websocket);

// To log out ends the sockets of the session on both nodes, and those of nobody else; the old cookie is worth nothing.
const ends = windows.map((one) => event(one, "disconnect"));
await fetch(`${there}/logout`, { method: "POST", headers: { cookie: anns }, redirect: "manual" });
await deadline("the end of the session", Promise.all(ends));
await refused({ cookie: anns });
assert.equal(await emit(ben, "whoami"), "ben");
await connected(dashboard(here, { cookie: cookie(await login(here, "ann", password)) }));
assert.match(await (await fetch(there)).text(), /<title>dashboard<\/title>/);
process.exit(0);

function login(url, name, secret) {
  const body = new URLSearchParams({ name, password: secret });
  return fetch(`${url}/login`, { method: "POST", body, redirect: "manual" });
}

function cookie(answer) {
  return answer.headers.get("set-cookie").split(";")[0];
}

function dashboard(url, extraHeaders, options) {
  return client(`${url}/dashboard`, { extraHeaders, ...options });
}

async function refused(headers, options) {
  const one = dashboard(here, headers, options);
  one.on("connect", () => assert.fail(`connected with ${JSON.stringify(headers)}`));
  return (await deadline("a refusal", event(one, "connect_error"))).message;
}
