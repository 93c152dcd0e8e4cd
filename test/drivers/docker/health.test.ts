import { randomUUID } from "node:crypto";
import t from "tap";
import { type DockerOptions, dockerDriver } from "../../../drivers/docker/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { freePort } from "../../fixtures/server.ts";
import { addressOf, get } from "../conformance/asking.ts";
import { call, namer, specOf } from "../conformance.ts";
import { openRewriter } from "../engine/engine-gate.ts";

const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["checked", "httpChecked", "onDemand"]);
const network = `berth-test-${randomUUID().slice(0, 8)}`;
const name = namer("health");
const open = (more: Partial<DockerOptions> = {}) => dockerDriver({ host, network, reach: "auto", clock: systemClock(), log, ...more });
const readiness = { kind: "healthcheck" as const };
const NEVER = "1000000000";

t.teardown(async () => {
  const containers = await docker.listContainers({ all: true, filters: { network: [network] } });
  await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true })));
  for (const { Id } of await docker.listNetworks({ filters: { label: [`berth.network=${network}`] } })) await docker.getNetwork(Id).remove();
});

t.test("the engine runs the image's own check twice a second while it starts, and else as the image has it", async (t) => {
  const driver = open();
  const service = name("checked");
  await driver.deploy(await specOf(driver, service, { ref: images.checked }, { readiness }), call());
  const { Config } = await docker.getContainer(service).inspect();
  const image = await docker.getImage(images.checked).inspect();
  t.match(Config.Healthcheck, { ...image.Config.Healthcheck, StartInterval: 0.5e9, StartPeriod: 300e9 });
  await driver.destroy(service, call());
});

t.test("a container whose check fails and whose port is closed is not ready, however long it runs", async (t) => {
  const driver = open({ openPortMs: 100 });
  const service = name("mute");
  const caller = new AbortController();
  const reason = new Error("the limit");
  const spec = await specOf(driver, service, { ref: images.checked }, { readiness, env: { BOOT_MS: NEVER } });
  const settled = driver.deploy(spec, { signal: caller.signal }).catch((error: unknown) => error);
  await eventually("its check has failed twice", async () => {
    const container = await docker
      .getContainer(service)
      .inspect()
      .catch(() => undefined);
    return (container?.State.Health?.Log?.length ?? 0) > 1;
  });
  caller.abort(reason);
  t.equal(await settled, reason);
  t.equal(await driver.inspect(service, call()), undefined, "nothing is left");
});

t.test("a running container whose check fails is adopted, with the warning", async (t) => {
  const driver = open({ openPortMs: 100 });
  const service = name("adopted");
  const spec = await specOf(driver, service, { ref: images.checked }, { readiness, env: { HEALTH_MS: NEVER } });
  const { instance } = await driver.deploy(spec, call());
  await eventually("its check has failed", async () => (await docker.getContainer(service).inspect()).State.Health?.Log?.length || undefined);
  const adopted = await open({ openPortMs: 100 }).deploy(spec, call());
  t.equal(adopted.instance, instance);
  t.match(adopted.warning, /HEALTHCHECK fails \(exit code 1\)/);
  await driver.destroy(service, call());
});

t.test("a queue worker with a check of its own need not listen", async (t) => {
  const driver = open();
  const service = name("worker");
  const env = { BOOT_MS: NEVER };
  const check = { kind: "healthcheck" as const, portStaysClosed: true as const };
  // The check asks the app's health, which this one serves at another port.
  const spec = await specOf(driver, service, { ref: images.checked }, { readiness: check, port: 5555, env: { ...env, HEALTH_PORT: "15353" } });
  const deployment = await driver.deploy(spec, call());
  t.equal(addressOf(deployment).port, 5555);
  t.equal(deployment.warning, undefined);
  await driver.destroy(service, call());
});

t.test("with published ports a health port of its own is published too, while the container runs", async (t) => {
  const driver = open({ reach: "published" });
  const service = name("published");
  const port = await freePort();
  const http = { kind: "http" as const, path: "/health", port, intervalMs: 1_000, timeoutMs: 1_000 };
  const env = { HEALTH_FAILURES: "1", HEALTH_PORT: String(port) };
  const address = addressOf(await driver.deploy(await specOf(driver, service, { ref: images.onDemand }, { readiness: http, env }), call()));
  t.ok(((await get(address, "/health-requests")) as number) > 0);
  await driver.destroy(service, call());
});

t.test(
  "an engine that knows no interval for starts counts as one without checks: berth sends the requests of an HTTP check, for another the port counts",
  async (t) => {
    const old = await openRewriter(t, host, (_path, _status, body) => body.replaceAll(/"StartInterval":\d+/g, '"Unknown":0'));
    const driver = open({ host: old, reach: "address" });
    for (const [image, least] of [
      ["httpChecked", 2],
      ["checked", 0],
    ] as const) {
      const service = name(image.toLowerCase());
      const spec = await specOf(driver, service, { ref: images[image] }, { readiness, env: { HEALTH_FAILURES: "1" } });
      const deployment = await driver.deploy(spec, call());
      t.ok(((await get(addressOf(deployment), "/health-requests")) as number) >= least, image);
      t.ok(deployment.phases.boot < 15_000);
      await driver.destroy(service, call());
    }
  },
);
