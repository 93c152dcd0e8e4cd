import { randomUUID } from "node:crypto";
import t from "tap";
import type { CapacityLimits } from "../../../control/lifecycle/capacity.ts";
import type { Container, ContainerConfig } from "../../../control/model/entities.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { crashing, listening } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const MINUTE_MS = 60_000;
const ON_DEMAND: Partial<ContainerConfig> = { onDemand: true, shutdownTimeoutMinutes: 60, cpu: 0.5, memoryMb: 256 };

async function openLimited(t: Parameters<typeof openLifecycleFixture>[0], capacity: Partial<CapacityLimits>, names: readonly string[]) {
  const metrics = openMetrics();
  const fixture = await openLifecycleFixture(t, { capacity: { ofUser: {}, ofAll: {}, ...capacity }, metrics });
  const containers: Record<string, Container> = {};
  for (const name of names) containers[name] = await fixture.publish({ name, config: ON_DEMAND });
  const containerId = (name: string) => containers[name]?.id ?? "";
  const addUser = async (login: string) => {
    const id = randomUUID();
    await fixture.store().users.insert({ id, login, friendlyName: login, admin: false, createdOn: 1 });
    return id;
  };
  const wake = async (name: string, user: string) => {
    await fixture.lifecycle().wake(containerId(name), user);
    await fixture.reaches(containerId(name), "STARTED");
  };
  return { fixture, containerId, addUser, wake, metrics };
}

async function pass(fixture: LifecycleFixture, ms: number): Promise<void> {
  await fixture.clock.advance(ms);
  await turns();
}

t.test("a user's containers have a limit, and another user's start is not refused for it", async (t) => {
  const { fixture, containerId, addUser, wake, metrics } = await openLimited(t, { ofUser: { containers: 2 } }, ["one", "two", "three"]);
  const bob = await addUser("bob");
  await wake("one", USER);
  await wake("two", USER);
  const refused = {
    code: "USER_CAPACITY_FULL",
    status: 429,
    retryAfterMs: 30_000,
    message: /2 of 2 containers \(BERTH_CAPACITY_USER_CONTAINERS\)\. Stop one/,
  };
  await t.rejects(fixture.lifecycle().wake(containerId("three"), USER), refused);
  await t.rejects(fixture.lifecycle().requestStart(containerId("three"), USER), refused, "nor by a run");
  t.equal(fixture.row(containerId("three")).desiredInstances, 0);
  await fixture.lifecycle().wake(containerId("one"), USER);
  await wake("three", bob);
  t.equal(metrics.capacityRefusals.at("user").value, 2);
});

t.test("where the user has an idle container, that is stopped for the new one", async (t) => {
  const { fixture, containerId, wake, metrics } = await openLimited(t, { ofUser: { memoryMb: 512 } }, ["one", "two", "three"]);
  const lifecycle = fixture.lifecycle();
  const reasons = new Set<string>();
  const unwatch = lifecycle.watch((change) => {
    const { stopReason } = "container" in change ? lifecycle.viewOf(change.container) : {};
    if (stopReason !== undefined) reasons.add(stopReason);
  });
  t.teardown(unwatch);
  await wake("one", USER);
  await pass(fixture, MINUTE_MS);
  await wake("two", USER);
  await wake("three", USER);
  await fixture.reaches(containerId("one"), "SYSTEM_STOPPED");
  t.same([...reasons], ["The container was idle, and another one needs its place: connect again"]);
  t.equal(fixture.row(containerId("two")).state, "STARTED", "it was used just now");
  const { why } = await fixture.lifecycle().explain(containerId("one"), new AbortController().signal);
  t.match(why, /It was idle, and was stopped because the limits of BERTH_CAPACITY_… had no place for another container\. The next request wakes it/);
  t.equal(metrics.capacityStops.at().value, 1);
});

t.test("a full server stops an idle container of the user who holds most, and one that has an open request never", async (t) => {
  const { fixture, containerId, addUser, wake } = await openLimited(t, { ofAll: { cpu: 2 } }, ["a", "b", "c", "d", "e", "f"]);
  const [bob, eve] = [await addUser("bob"), await addUser("eve")];
  const lifecycle = fixture.lifecycle();
  lifecycle.gatewayJoined("g", lifecycle.seq());
  // Eve's is the one that was used last recently of all; Ada holds most.
  await wake("d", eve);
  for (const name of ["a", "b", "c"]) {
    await wake(name, USER);
    await pass(fixture, 1_000);
  }
  await pass(fixture, MINUTE_MS);
  const openAt = (id: string) => ({ id, open: 1, streams: 1, lastActive: fixture.clock.now() });
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: [openAt(containerId("a"))] });
  await wake("e", bob);
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: [openAt(containerId("a"))] });
  await fixture.reaches(containerId("b"), "SYSTEM_STOPPED");
  t.equal(fixture.row(containerId("d")).state, "STARTED");
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: ["a", "c", "d", "e"].map((name) => openAt(containerId(name))) });
  const refused = {
    code: "SERVER_CAPACITY_FULL",
    status: 503,
    retryAfterMs: 30_000,
    message: /2 of 2 cores, and this one needs 0\.5 \(BERTH_CAPACITY_CPU\)/,
  };
  await t.rejects(lifecycle.wake(containerId("f"), bob), refused);
});

t.test("a container that needs more than the limit is refused, and nothing is stopped for it", async (t) => {
  const { fixture, containerId, wake } = await openLimited(t, { ofUser: { memoryMb: 300 } }, ["one"]);
  await wake("one", USER);
  await pass(fixture, MINUTE_MS);
  const large = await fixture.publish({ name: "large", config: { ...ON_DEMAND, memoryMb: 512 } });
  const refused = {
    code: "USER_CAPACITY_FULL",
    retryAfterMs: undefined,
    message:
      "large is not started: it needs 512 MB of memory, and BERTH_CAPACITY_USER_MEMORY_MB allows 300. Request less in its container.json, or ask an administrator for a higher limit.",
  };
  await t.rejects(fixture.lifecycle().wake(large.id, USER), refused);
  t.equal(fixture.row(containerId("one")).state, "STARTED");
});

t.test("what a container depends on is refused nothing, and counts", async (t) => {
  const { fixture, containerId, wake } = await openLimited(t, { ofUser: { containers: 2 } }, ["one", "two", "three"]);
  await wake("one", USER);
  await wake("two", USER);
  await fixture.lifecycle().requestStart(containerId("three"), USER, "dependency");
  await fixture.reaches(containerId("three"), "STARTED");
  const more = await fixture.publish({ name: "more", config: ON_DEMAND });
  await t.rejects(fixture.lifecycle().wake(more.id, USER), { code: "USER_CAPACITY_FULL", message: /3 of 2 containers/ });
});

t.test("a container that has failed holds nothing, and its next start is checked", async (t) => {
  const { fixture, containerId, wake } = await openLimited(t, { ofUser: { containers: 1 } }, ["one", "two"]);
  const { ref } = fixture.image(fixture.row(containerId("one")).imageId);
  fixture.world.apps.set(ref, crashing);
  await fixture.lifecycle().wake(containerId("one"), USER);
  await fixture.reaches(containerId("one"), "ERROR");
  await wake("two", USER);
  fixture.world.apps.set(ref, listening);
  await pass(fixture, 10_000);
  await t.rejects(fixture.lifecycle().wake(containerId("one"), USER), { code: "USER_CAPACITY_FULL" });
});

t.test("a refusal counts for a second, so that a client that polls costs no transaction for each request, or until a user stops one", async (t) => {
  const { fixture, containerId, wake, metrics } = await openLimited(t, { ofUser: { containers: 1 } }, ["one", "two"]);
  await wake("one", USER);
  const { containers } = fixture.store();
  const { holding } = containers;
  let reads = 0;
  containers.holding = () => {
    reads++;
    return holding();
  };
  const refuse = () => t.rejects(fixture.lifecycle().wake(containerId("two"), USER), { code: "USER_CAPACITY_FULL" });
  for (let request = 0; request < 10; request++) await refuse();
  t.equal(reads, 1);
  t.equal(metrics.capacityRefusals.at("user").value, 10);
  await pass(fixture, 1_000);
  await refuse();
  t.equal(reads, 2);
  await fixture.stop(containerId("one"));
  await wake("two", USER);
});

t.test("nor does the server claim that it waits for an idle one", async (t) => {
  const { fixture, containerId } = await openLimited(t, { ofAll: { cpu: 0.25 } }, ["one"]);
  const refused = { code: "SERVER_CAPACITY_FULL", retryAfterMs: undefined, message: /it needs 0\.5 cores, and BERTH_CAPACITY_CPU allows 0\.25\./ };
  await t.rejects(fixture.lifecycle().wake(containerId("one"), USER), refused);
});

t.test("after a restart of control nothing is idle before the gateways have had time to report what is open", async (t) => {
  const { fixture, containerId, wake } = await openLimited(t, { ofUser: { containers: 1 } }, ["one", "two"]);
  await wake("one", USER);
  await pass(fixture, 2 * MINUTE_MS);
  await fixture.restart();
  await t.rejects(fixture.lifecycle().wake(containerId("two"), USER), { code: "USER_CAPACITY_FULL" });
  t.equal(fixture.row(containerId("one")).state, "STARTED");
  await pass(fixture, MINUTE_MS);
  await wake("two", USER);
  await fixture.reaches(containerId("one"), "SYSTEM_STOPPED");
});

t.test("a restart is not refused, by any user, and stops nothing else", async (t) => {
  const { fixture, containerId, addUser, wake } = await openLimited(t, { ofUser: { containers: 1 } }, ["one", "two", "three"]);
  const bob = await addUser("bob");
  await wake("one", USER);
  await wake("two", bob);
  await pass(fixture, MINUTE_MS);
  await fixture.lifecycle().requestRestart(containerId("one"), bob);
  t.equal(fixture.row(containerId("one")).stopFor, "user");
  t.equal(fixture.row(containerId("two")).desiredInstances, 1);
  await fixture.reaches(containerId("one"), "STARTED");
  await t.rejects(
    fixture.lifecycle().requestRestart(containerId("three"), bob),
    { code: "USER_CAPACITY_FULL" },
    "of one that is stopped it is a start",
  );
});

t.test("two idle containers that depend on each other make place together", async (t) => {
  const { fixture } = await openLimited(t, { ofUser: { containers: 1 } }, []);
  const base = await fixture.publish({ name: "base", config: ON_DEMAND });
  const app = await fixture.publish({ name: "app", config: { ...ON_DEMAND, dependsOn: ["base"] } });
  const other = await fixture.publish({ name: "other", config: ON_DEMAND });
  await fixture.lifecycle().wake(app.id, USER);
  await fixture.reaches(app.id, "STARTED");
  await pass(fixture, MINUTE_MS);
  await fixture.lifecycle().wake(other.id, USER);
  for (const { id } of [app, base]) await fixture.reaches(id, "SYSTEM_STOPPED");
  await fixture.reaches(other.id, "STARTED");
});

t.test("a start does not stop what it depends on", async (t) => {
  const { fixture } = await openLimited(t, { ofUser: { containers: 1 } }, []);
  const base = await fixture.publish({ name: "base", config: ON_DEMAND });
  const app = await fixture.publish({ name: "app", config: { ...ON_DEMAND, dependsOn: ["base"] } });
  await fixture.wake(base.id);
  await pass(fixture, MINUTE_MS);
  await t.rejects(fixture.lifecycle().wake(app.id, USER), { code: "USER_CAPACITY_FULL" });
  t.equal(fixture.row(base.id).state, "STARTED");
});

t.test("a container without a port is not stopped: nothing shows whether it works", async (t) => {
  const { fixture, containerId } = await openLimited(t, { ofUser: { containers: 1 } }, ["other"]);
  const job = await fixture.publish({ name: "job", config: ON_DEMAND, app: { exposed: [], run: () => {} } });
  await fixture.lifecycle().wake(job.id, USER);
  await eventually("it is being started", () => fixture.world.running().length === 1);
  await pass(fixture, MINUTE_MS);
  await fixture.reaches(job.id, "STARTED");
  await pass(fixture, MINUTE_MS);
  await t.rejects(fixture.lifecycle().wake(containerId("other"), USER), { code: "USER_CAPACITY_FULL" });
  t.equal(fixture.row(job.id).state, "STARTED");
});

t.test("a container is not stopped while one of its replicas is busy", async (t) => {
  const { fixture, containerId } = await openLimited(t, { ofUser: { containers: 1 } }, ["other"]);
  const replicas = { min: 2, max: 2, targetConcurrency: 1, windowSeconds: 60 };
  const pair = await fixture.publish({ name: "pair", config: { ...ON_DEMAND, replicas } });
  await fixture.wake(pair.id);
  const others = () => fixture.store().containers.replicasOf(pair.id);
  await eventually("the other replica runs", async () => (await others())[0]?.state === "STARTED");
  for (const { id } of await others()) await fixture.lifecycle().setBusy(id, 10 * MINUTE_MS);
  await pass(fixture, MINUTE_MS);
  await t.rejects(fixture.lifecycle().wake(containerId("other"), USER), { code: "USER_CAPACITY_FULL" });
  t.equal(fixture.row(pair.id).state, "STARTED");
});

t.test("warm hours start no container beyond the limit of the server, and stop none for it", async (t) => {
  const { fixture, containerId, wake } = await openLimited(t, { ofAll: { containers: 2 } }, ["used"]);
  await wake("used", USER);
  await pass(fixture, MINUTE_MS);
  const config = { ...ON_DEMAND, keepWarm: ["Mon-Sun 00:00-24:00"] };
  const warm: Container[] = [];
  for (const name of ["one", "two", "three"]) warm.push(await fixture.publish({ name, config }));
  const started = () => warm.filter(({ id }) => fixture.row(id).state === "STARTED");
  await eventually("one of them is started", () => started().length === 1);
  await pass(fixture, MINUTE_MS);
  t.equal(started().length, 1);
  t.equal(fixture.row(containerId("used")).state, "STARTED", "it is idle, and its user may come back");
  const [waiting] = warm.filter(({ id }) => fixture.row(id).state !== "STARTED");
  t.equal(fixture.row(waiting?.id ?? "").desiredInstances, 0);
  const { why } = await fixture.lifecycle().explain(waiting?.id ?? "", new AbortController().signal);
  t.match(why, /It is to be kept warm now, and starts once the limits of BERTH_CAPACITY_… have a place/);

  await fixture.lifecycle().requestStop(containerId("used"), USER);
  await fixture.reaches(containerId("used"), "USER_STOPPED");
  await pass(fixture, MINUTE_MS);
  await eventually("its place is taken", () => started().length === 2);
});

async function openReplicated(t: Parameters<typeof openLifecycleFixture>[0], containers: number, replicas: { min: number; max: number }) {
  const { fixture, containerId, wake } = await openLimited(t, { ofAll: { containers } }, ["other"]);
  const config = { ...ON_DEMAND, replicas: { targetConcurrency: 1, windowSeconds: 60, ...replicas } };
  const web = await fixture.publish({ name: "web", config });
  const generations = () =>
    fixture.world
      .facts()
      .filter(({ running }) => running)
      .map(({ labels }) => labels.generation);
  const redefine = async (generation: number) => {
    await fixture.store().containers.update(web.id, { generation, env: { OWN: `${generation}` } });
    await fixture.lifecycle().definitionChanged(web.id, USER);
  };
  return { fixture, web, containerId, wake, generations, redefine };
}

t.test("further replicas start only where the limit of all containers has a place", async (t) => {
  const { fixture, web, containerId, wake } = await openReplicated(t, 3, { min: 4, max: 4 });
  await wake("other", USER);
  await fixture.wake(web.id);
  const running = () => fixture.world.running().length;
  await eventually("one further replica runs", () => running() === 3);
  await pass(fixture, MINUTE_MS);
  t.equal(running(), 3);
  t.match(fixture.lifecycle().replicasOf(web.id), {
    wanted: 2,
    says: /It needs more, and starts them once the limits of BERTH_CAPACITY_… have a place/,
  });
  await fixture.lifecycle().requestStop(containerId("other"), USER);
  await fixture.reaches(containerId("other"), "USER_STOPPED");
  await pass(fixture, MINUTE_MS);
  await eventually("its place is taken", () => running() === 3);
  await pass(fixture, MINUTE_MS);
  t.equal(running(), 3);
});

t.test("where the limit of all containers has no place for one more, a newer version replaces without it", async (t) => {
  for (const [places, replicas] of [
    [1, { min: 1, max: 2 }],
    [2, { min: 2, max: 3 }],
    [2, { min: 3, max: 3 }],
  ] as const) {
    const { fixture, web, generations, redefine } = await openReplicated(t, places, replicas);
    await fixture.wake(web.id);
    await eventually("all that have a place run", () => generations().length === places);
    let most = 0;
    t.teardown(fixture.lifecycle().watch(() => void (most = Math.max(most, fixture.world.running().length))));
    await redefine(2);
    const replaced = Array.from({ length: places }, () => 2).join();
    for (let second = 0; second < 180 && generations().join() !== replaced; second++) await pass(fixture, 1_000);
    t.equal(generations().join(), replaced);
    t.equal(most, places);
  }
});
