// node login.mjs <url> <secret of the tokens>
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { client, connected, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [url, secret] = process.argv.slice(2);
const now = Math.floor(Date.now() / 1000);

const issued = await (await fetch(`${url}/login/ann`, { method: "POST" })).text();
const ann = await connected(client(url, { auth: { token: issued } }));
assert.equal(await emit(ann, "whoami"), "ann");
assert.equal((await emit(ann, "announce", "hello")).error.code, "forbidden");

const root = await connected(client(url, { auth: { token: token({ sub: "root", admin: true, exp: now + 60 }) } }));
const announced = event(ann, "announcement");
await emit(root, "announce", "back in a minute");
assert.equal(await deadline("the announcement", announced), "back in a minute");

const claims = { sub: "eve", exp: now + 60 };
const none = Buffer.from(JSON.stringify({ alg: "none", typ: "JWT" })).toString("base64url");
const expected = {
  expired: [token({ sub: "eve", exp: now - 3600 })],
  invalid: [
    token(claims, "another secret"),
    token({ sub: "eve" }),
    `${none}.${token(claims).split(".")[1]}.`,
    issued.replace(/\.[^.]+\./, `.${token({ ...claims, admin: true }).split(".")[1]}.`),
    "",
  ],
};
for (const [code, tokens] of Object.entries(expected)) {
  for (const token of tokens) {
    const refusal = await refused({ token });
    assert.deepEqual(refusal.data, { code }, token);
  }
}
assert.equal((await refused({})).message, "invalid auth");
process.exit(0);

async function refused(auth) {
  const one = client(url, { auth });
  one.on("connect", () => assert.fail(`connected with ${JSON.stringify(auth)}`));
  return deadline("a refusal", event(one, "connect_error"));
}

/** A token of HS256, made without the server. */
function token(claims, key = secret) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
}
