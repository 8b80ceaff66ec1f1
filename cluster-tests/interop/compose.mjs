// node compose.mjs <folder of deployments>: the files for Compose and Swarm keep the schema of Compose, every container has a read-only root, a
// user and no capabilities, every node is asked how it is and has time to stop, and what the balancers lead to is there.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";

const [deploy] = process.argv.slice(2);
const files = ["compose.yaml", "named-servers/compose.yaml", "compose-haproxy/compose.yaml", "compose-haproxy/stack.yaml"];
// Clients of other machines are welcome; an image that is built has a name; `docker stack` wants a version.
const rules = ["no-unbound-port-interfaces", "no-build-and-image", "no-version-field"];
const allowed = rules.flatMap((rule) => ["--disable-rule", rule]);

for (const file of files) {
  const path = join(deploy, file);
  const dclint = spawnSync(process.execPath, ["node_modules/dclint/bin/dclint.cjs", path, "--quiet", ...allowed], { encoding: "utf8" });
  assert.equal(dclint.status, 0, `${file}: ${dclint.stdout}${dclint.stderr}`);

  const { services, configs = {} } = parse(readFileSync(path, "utf8"), { merge: true });
  const nodes = Object.entries(services).filter(([, { environment }]) => environment?.SOCKETMESH_MESH);
  assert.ok(nodes.length > 0, file);
  for (const [name, { read_only, user, cap_drop }] of Object.entries(services)) {
    assert.ok(read_only && /^[1-9]/.test(user) && cap_drop.includes("ALL"), `${file}: ${name} is not hardened`);
  }
  for (const [name, { stop_grace_period, environment, healthcheck }] of nodes) {
    assert.deepEqual(healthcheck.test.slice(1, 4), ["/usr/local/bin/socketmesh", "health", "--ready"], `${file}: ${name} is not asked`);
    // A stop takes ten seconds at most beside the drain: of an example what its variables say, of the program ten seconds.
    const { DRAIN_NOTICE_MS: notice, DRAIN_MS: spread } = environment;
    const drain = notice ? (Number(notice) + Number(spread)) / 1000 : 10;
    assert.ok(parseInt(stop_grace_period, 10) >= 10 + drain, `${file}: ${name} has no time to stop`);
  }

  const mounted = Object.values(services).flatMap(({ volumes = [] }) => volumes.map((volume) => volume.split(":")[0]));
  const config = [...mounted, ...Object.values(configs).map((one) => one.file)].map((one) => resolve(dirname(path), one));
  assert.equal(config.length, 1, `${file}: one file of a balancer`);
  assert.ok(existsSync(config[0]), config[0]);
  const hosts = [...readFileSync(config[0], "utf8").matchAll(/^\s*server(?:-template)? .*?([\w-]+):3000/gm)].map(([, host]) => host);
  assert.deepEqual(hosts.sort(), nodes.map(([name]) => name).sort(), `${file}: the balancer leads to the nodes`);
}
process.exit(0);
