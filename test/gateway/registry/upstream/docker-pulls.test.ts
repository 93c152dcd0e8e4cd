import { randomUUID } from "node:crypto";
import t, { type Test } from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { readSettings } from "../../../../conf/read-settings.ts";
import { dockerDriver } from "../../../../drivers/docker/driver.ts";
import { openUpstream } from "../../../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../../../lib/log.ts";
import { openConfiguredRegistry } from "../../../../processes/configured-registry.ts";
import { call, rejectsWith } from "../../../drivers/conformance.ts";
import { openEngine } from "../../../fixtures/engine.ts";
import { buildTestImages } from "../../../fixtures/images.ts";
import { htpasswd, LOGIN, openDistribution } from "./distribution.ts";
import { push, signal } from "./pushed.ts";

const log = openLog({ level: "silent", name: "test" });
const clock = systemClock();
const { docker, host: engine } = openEngine();
const { worker } = await buildTestImages(docker, ["worker"]);

function open(t: Test, env: Record<string, string>) {
  const { settings } = readSettings({ env });
  const registry = openConfiguredRegistry(settings, "docker", { clock, log });
  const driver = dockerDriver({ host: engine, network: "none-is-made", reach: "auto", clock, log, registry });
  t.teardown(async () => {
    await driver.close();
    await registry?.close();
  });
  return { driver, registry };
}

t.test("an engine pulls short names from the registry that is set up, signed in as it wants", async (t) => {
  const home = await openDistribution(t, htpasswd);
  const upstream = await openUpstream({ url: home.host, ...LOGIN, ecrMode: false, awsRegion: undefined }, { clock, log, signal: signal() });
  t.teardown(() => upstream.close());
  const name = `datagrok/x-${randomUUID().slice(0, 8)}`;
  const env = { REGISTRY_URL: home.host, REGISTRY_USERNAME: LOGIN.username, REGISTRY_PASSWORD: LOGIN.password };
  const { driver, registry } = open(t, env);
  t.teardown(async () => {
    for (const { Id, RepoTags } of await docker.listImages()) {
      if (RepoTags?.some((tag) => tag.startsWith(home.host))) await docker.getImage(Id).remove({ force: true });
    }
  });
  const pushed = await push(upstream, name, "first", "one");
  let pulls = 0;
  const resolve = (ref: string) => driver.resolve({ ref }, { ...call(), onPull: () => pulls++ });

  const first = await resolve(`${name}:first`);
  t.equal(first.digest, pushed);
  t.match((await docker.getImage(first.id).inspect()).RepoTags, [`${home.host}/${name}:first`]);
  t.strictSame(await registry?.resolve(`${name}:first`, call()), { reference: `${home.host}/${name}:first`, digest: pushed });

  await t.test("again only where the tag has moved", async (t) => {
    const before = pulls;
    t.equal((await resolve(`${name}:first`)).id, first.id);
    t.equal(pulls, before);
    const moved = await push(upstream, name, "first", "two");
    const second = await resolve(`${name}:first`);
    t.equal(second.digest, moved);
    t.not(second.id, first.id);
    t.strictSame((await docker.getImage(second.id).inspect()).Config.Env, ["TEXT=two"]);
  });

  await t.test("full names too", async (t) => {
    await push(upstream, name, "full", "three");
    t.strictSame((await docker.getImage((await resolve(`${home.host}/${name}:full`)).id).inspect()).Config.Env, ["TEXT=three"]);
  });

  await t.test("what it does not have may be the engine's own", async (t) => {
    const { id } = await docker
      .getImage(worker)
      .inspect()
      .then(({ Id }) => ({ id: Id }));
    t.equal((await resolve(worker)).id, id);
  });

  await t.test("with a wrong password it is denied, and the password is not reported", async (t) => {
    const wrong = open(t, { ...env, REGISTRY_PASSWORD: "another-Word" });
    await push(upstream, name, "unseen", "four");
    const fault = await rejectsWith(t, "PULL_DENIED", wrong.driver.resolve({ ref: `${name}:unseen` }, call()));
    await rejectsWith(t, "PULL_DENIED", wrong.driver.resolve({ ref: `${home.host}/${name}:unseen` }, call()));
    t.notMatch(String(fault.stack) + JSON.stringify(fault), /another-Word/);
  });

  await t.test("credentials are for its own host only", async (t) => {
    t.strictSame(await registry?.login(home.host, call()), LOGIN);
    t.equal(await registry?.login("127.0.0.1:1", call()), undefined);
    const named = open(t, { ...env, GROK_PARAMETERS: JSON.stringify({ dockerSettings: { registryProxyHost: "proxy.example" } }) });
    const resolved = await named.registry?.resolve(`${name}:full`, call());
    t.equal(resolved?.reference, `proxy.example:5000/${name}:full`);
    t.equal(await named.registry?.login("proxy.example:5000", call()), undefined);
  });

  await t.test("while it is away, what was pulled before serves", async (t) => {
    const { id } = await resolve(`${name}:first`);
    await home.stop();
    t.equal((await resolve(`${name}:first`)).id, id);
    await rejectsWith(t, "REGISTRY_UNREACHABLE", resolve(`${name}:never-seen`));
  });
});

t.test("nothing is looked up where no registry is set up, and invalid settings are reported at once", async (t) => {
  t.equal(open(t, {}).registry, undefined);
  await rejectsWith(
    t,
    "SETTINGS_INVALID",
    Promise.resolve().then(() => open(t, { REGISTRY_URL: "ftp://x" })),
  );
});
