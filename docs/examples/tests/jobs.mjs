// node jobs.mjs <url of a node> <url of another> [<process of the other, which is killed>]
import assert from "node:assert/strict";
import { client, connected, deadline, emit, event } from "../../../cluster-tests/interop/client.mjs";

const [here, there, pid] = process.argv.slice(2);
const customer = await connected(client(here));

// A job waits until there is a worker, on any node.
const early = emit(customer, "submit", { title: "early" });
const steady = worker(there, ({ title }, ack) => ack(`${title}: done`));
assert.equal(await early, "early: done");

// It may take longer than acknowledgements usually may: 10 s from one client, 5 s from other nodes.
steady.off("work");
const begun = event(steady, "work");
steady.on("work", ({ title }, ack) => setTimeout(() => ack(`${title}: done at last`), 11_000));
const long = emit(customer, "submit", { title: "long" });
assert.deepEqual(await deadline("the long job to begin", begun), { title: "long" });

// The busy worker is left alone. One that is lost with a job in its hands is replaced, and what others submit is answered meanwhile.
let given = 0;
const faulty = worker(here, () => { given += 1; faulty.io.engine.close(); });
await deadline("a worker", event(faulty, "connect"));
const another = await connected(client(there));
const retried = emit(another, "submit", { title: "retried" });
await deadline("its end", event(faulty, "disconnect"));
const spare = worker(here, ({ title }, ack) => ack(Buffer.from(`${title} by another`)));
assert.equal(String(await retried), "retried by another");
assert.equal(given, 1);

assert.equal(await long, "long: done at last");

if (pid) {
  // A node that is killed takes its workers along.
  for (const one of [another, steady, spare]) one.disconnect();
  const doomed = worker(there, () => process.kill(Number(pid), "SIGKILL"));
  await deadline("a worker", event(doomed, "connect"));
  const survived = emit(customer, "submit", { title: "survived" });
  await deadline("the end of the other node", event(doomed, "disconnect"));
  worker(here, ({ title }, ack) => ack(title));
  assert.equal(await survived, "survived");
}
process.exit(0);

function worker(url, work) {
  return client(`${url}/workers`).on("work", work);
}
