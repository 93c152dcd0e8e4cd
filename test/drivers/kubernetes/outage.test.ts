import { writeFileSync } from "node:fs";
import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { faster, openWorld } from "./test-cluster.ts";
import { eventually } from "../../fixtures/eventually.ts";

const system = systemClock();
/** All of its times are an eighth. */
const hasty = clockFrom({ ...system, monotonic: () => system.monotonic() * 8, after: (ms, task) => system.after(ms / 8, task) });

t.test("a server that has just started denies everything for a while, and is asked again", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: faster(10) });
  const spec = await specOf(driver, "cold", await image("onDemand"), { env: { BOOT_MS: "400" } });

  const start = driver.deploy(spec, call());
  await eventually("it is watched", () => cluster.watching() > 0);
  cluster.away();
  await eventually("its watch is broken", () => cluster.watching() === 0);
  cluster.roles.cold.requests = 6;
  await cluster.back();
  await start;
  t.equal(cluster.roles.cold.requests, 0, "it was denied so often");

  cluster.roles.cold.requests = 6;
  await driver.destroy("cold", call());
  t.equal(cluster.roles.cold.requests, 0);
});

t.test("a server that names the roles it misses is asked again, whether a connection broke or not", async (t) => {
  const { cluster, open } = await openWorld(t);
  const driver = open({ clock: faster(10) });
  Object.assign(cluster.roles.cold, { requests: 3, named: true });
  t.strictSame(await driver.list(call()), []);

  // It never knows them.
  cluster.roles.cold.requests = 1_000;
  await rejectsWith(t, "ENGINE_ACTION_DENIED", open({ clock: hasty }).list(call()));
});

t.test("a denial without a break is final at once", async (t) => {
  const { cluster, open } = await openWorld(t);
  cluster.roles.cold.requests = 1;
  await rejectsWith(t, "ENGINE_ACTION_DENIED", open().list(call()));
  t.equal(cluster.roles.times("list deployments"), 1);
});

t.test("a call that meets an outage may be repeated; one to a server that never answered may not", async (t) => {
  const { cluster, kubeconfig, open, image } = await openWorld(t);
  const driver = open();
  const spec = await specOf(driver, "later", await image("worker"), { graceMs: 1 });
  await driver.list(call());
  cluster.away();
  t.type((await rejectsWith(t, "ENGINE_UNREACHABLE", driver.deploy(spec, call()))).retryAfterMs, "number");
  await cluster.back();
  await driver.deploy(spec, call());
  await driver.destroy("later", call());

  writeFileSync(kubeconfig, cluster.kubeconfig().replace(cluster.url, "https://127.0.0.1:1"));
  t.equal((await rejectsWith(t, "ENGINE_UNREACHABLE", open().deploy(spec, call()))).retryAfterMs, undefined);
});
