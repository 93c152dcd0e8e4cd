import { writeFileSync } from "node:fs";
import t from "tap";
import { clockFrom, systemClock } from "../../../lib/clock.ts";
import { KubernetesApiError } from "../../fixtures/kubernetes/status.ts";
import { call, rejectsWith, specOf } from "../conformance.ts";
import { openWorld } from "./test-cluster.ts";
import { eventually } from "../../fixtures/eventually.ts";

const system = systemClock();
/** Only pauses are shorter: the limit of a call is far, also for a busy machine. */
const quick = clockFrom({ ...system, after: (ms, task) => system.after(ms < 10_000 ? ms / 10 : ms, task) });
/** The same, and the time after which a denial is final comes sooner. */
const hasty = clockFrom({ ...quick, monotonic: () => system.monotonic() * 8 });

t.test("a server that has just started denies everything for a while, and is tried again", async (t) => {
  const { cluster, images, open, image } = await openWorld(t);
  const driver = open({ clock: quick });
  const spec = await specOf(driver, "cold", await image("onDemand"));
  const held = images.get(spec.image) as { folder: string };
  // It does not run before the server is itself again.
  images.set(spec.image, { refused: "dial tcp: i/o timeout" });

  const start = driver.deploy(spec, call());
  start.catch(() => {});
  await eventually("it is watched", () => cluster.watching() > 0);
  cluster.away();
  await eventually("its watch is broken", () => cluster.watching() === 0);
  cluster.roles.cold.requests = 3;
  await cluster.back();
  await eventually("it was denied so often, and is watched again", () => cluster.roles.cold.requests === 0 && cluster.watching() > 0);
  images.set(spec.image, held);
  await start;

  cluster.away();
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.destroy("cold", call()));
  await cluster.back();
  cluster.roles.cold.requests = 6;
  await driver.destroy("cold", call());
  t.equal(cluster.roles.cold.requests, 0);
});

t.test("a server that names the roles it misses is tried again, whether a connection broke or not", async (t) => {
  const { cluster, open } = await openWorld(t);
  const driver = open({ clock: quick });
  Object.assign(cluster.roles.cold, { requests: 3, named: true });
  t.strictSame(await driver.list(call()), []);

  // It never knows them.
  cluster.roles.cold.requests = 1_000;
  await rejectsWith(t, "ENGINE_ACTION_DENIED", open({ clock: hasty }).list(call()));
});

t.test("a server that has just started fails calls for a while, and is tried again; without a break a failure is final", async (t) => {
  const { cluster, open, image } = await openWorld(t);
  const driver = open({ clock: quick });
  const spec = await specOf(driver, "cold", await image("worker"), { graceMs: 1 });
  await driver.list(call());
  cluster.away();
  await rejectsWith(t, "ENGINE_UNREACHABLE", driver.list(call()));
  await cluster.back();
  const message = "Internal error occurred: failed to allocate a serviceIP: the provided network does not match the current range";
  const error = new KubernetesApiError(500, "InternalError", message);
  cluster.trouble.push({ error, path: /\/secrets$/ }, { error, path: /\/deployments$/ });
  await driver.deploy(spec, call());
  t.strictSame(cluster.trouble, []);
  await driver.destroy("cold", call());

  cluster.trouble.push({ error });
  await rejectsWith(t, "ENGINE_FAILED", open().list(call()));
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
