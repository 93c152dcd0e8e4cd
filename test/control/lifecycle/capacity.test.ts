import { randomUUID } from "node:crypto";
import t from "tap";
import type { CapacityLimits } from "../../../control/lifecycle/capacity.ts";
import type { Container, ContainerConfig } from "../../../control/model/entities.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { turns } from "../../fixtures/clock.ts";
import { crashing, listening } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

const MINUTE_MS = 60_000;
const ON_DEMAND: Partial<ContainerConfig> = { onDemand: true, shutdownTimeoutMinutes: 60, cpu: 0.5, memoryMb: 256 };

async function openLimited(t: Parameters<typeof openLifecycleFixture>[0], capacity: Partial<CapacityLimits>, names: readonly string[]) {
  const metrics = openMetrics();
  const stand = await openLifecycleFixture(t, { capacity: { ofUser: {}, ofAll: {}, ...capacity }, metrics });
  const containers: Record<string, Container> = {};
  for (const name of names) containers[name] = await stand.publish({ name, config: ON_DEMAND });
  const idOf = (name: string) => containers[name]?.id ?? "";
  const person = async (login: string) => {
    const id = randomUUID();
    await stand.store().users.insert({ id, login, friendlyName: login, admin: false, createdOn: 1 });
    return id;
  };
  const wake = async (name: string, user: string) => {
    await stand.lifecycle().wake(idOf(name), user);
    await stand.reaches(idOf(name), "STARTED");
  };
  return { stand, idOf, person, wake, metrics };
}

async function pass(stand: LifecycleFixture, ms: number): Promise<void> {
  await stand.clock.advance(ms);
  await turns();
}

t.test("a user's containers have a limit, and another user's start is not refused for it", async (t) => {
  const { stand, idOf, person, wake, metrics } = await openLimited(t, { ofUser: { containers: 2 } }, ["one", "two", "three"]);
  const bob = await person("bob");
  await wake("one", USER);
  await wake("two", USER);
  const refused = {
    code: "USER_CAPACITY_FULL",
    status: 429,
    retryAfterMs: 30_000,
    message: /2 of 2 containers \(BERTH_CAPACITY_USER_CONTAINERS\)\. Stop one/,
  };
  await t.rejects(stand.lifecycle().wake(idOf("three"), USER), refused);
  await t.rejects(stand.lifecycle().requestStart(idOf("three"), USER), refused, "nor by a run");
  t.equal(stand.row(idOf("three")).desiredInstances, 0);
  await stand.lifecycle().wake(idOf("one"), USER);
  await wake("three", bob);
  t.equal(metrics.capacityRefusals.at("user").value, 2);
});

t.test("where the user has an idle container, that is stopped for the new one", async (t) => {
  const { stand, idOf, wake, metrics } = await openLimited(t, { ofUser: { memoryMb: 512 } }, ["one", "two", "three"]);
  await wake("one", USER);
  await pass(stand, MINUTE_MS);
  await wake("two", USER);
  await wake("three", USER);
  await stand.reaches(idOf("one"), "SYSTEM_STOPPED");
  t.equal(stand.row(idOf("two")).state, "STARTED", "it was used just now");
  const { why } = await stand.lifecycle().explain(idOf("one"), new AbortController().signal);
  t.match(why, /It was idle, and was stopped because the limits of BERTH_CAPACITY_… had no place for another container\. The next request wakes it/);
  t.equal(metrics.capacityStops.at().value, 1);
});

t.test("a full server stops an idle container of the user who holds most, and one that has an open request never", async (t) => {
  const { stand, idOf, person, wake } = await openLimited(t, { ofAll: { cpu: 2 } }, ["a", "b", "c", "d", "e", "f"]);
  const [bob, eve] = [await person("bob"), await person("eve")];
  const lifecycle = stand.lifecycle();
  lifecycle.gatewayJoined("g", lifecycle.seq());
  // Eve's is the one that was used last recently of all; Ada holds most.
  await wake("d", eve);
  for (const name of ["a", "b", "c"]) {
    await wake(name, USER);
    await pass(stand, 1_000);
  }
  await pass(stand, MINUTE_MS);
  const openAt = (id: string) => ({ id, open: 1, streams: 1, lastActive: stand.clock.now() });
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: [openAt(idOf("a"))] });
  await wake("e", bob);
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: [openAt(idOf("a"))] });
  await stand.reaches(idOf("b"), "SYSTEM_STOPPED");
  t.equal(stand.row(idOf("d")).state, "STARTED");
  await lifecycle.recordUse({ gateway: "g", seq: lifecycle.seq(), uses: ["a", "c", "d", "e"].map((name) => openAt(idOf(name))) });
  const refused = {
    code: "SERVER_CAPACITY_FULL",
    status: 503,
    retryAfterMs: 30_000,
    message: /2 of 2 cores, and this one needs 0\.5 \(BERTH_CAPACITY_CPU\)/,
  };
  await t.rejects(lifecycle.wake(idOf("f"), bob), refused);
});

t.test("a container that needs more than the limit is refused, and nothing is stopped for it", async (t) => {
  const { stand, idOf, wake } = await openLimited(t, { ofUser: { memoryMb: 300 } }, ["one"]);
  await wake("one", USER);
  await pass(stand, MINUTE_MS);
  const large = await stand.publish({ name: "large", config: { ...ON_DEMAND, memoryMb: 512 } });
  await t.rejects(stand.lifecycle().wake(large.id, USER), { code: "USER_CAPACITY_FULL", message: /256 of 300 MB of memory, and this one needs 512/ });
  t.equal(stand.row(idOf("one")).state, "STARTED");
});

t.test("what a container depends on is refused nothing, and counts", async (t) => {
  const { stand, idOf, wake } = await openLimited(t, { ofUser: { containers: 2 } }, ["one", "two", "three"]);
  await wake("one", USER);
  await wake("two", USER);
  await stand.lifecycle().requestStart(idOf("three"), USER, "dependency");
  await stand.reaches(idOf("three"), "STARTED");
  const more = await stand.publish({ name: "more", config: ON_DEMAND });
  await t.rejects(stand.lifecycle().wake(more.id, USER), { code: "USER_CAPACITY_FULL", message: /3 of 2 containers/ });
});

t.test("a container that has failed holds nothing, and its next start is checked", async (t) => {
  const { stand, idOf, wake } = await openLimited(t, { ofUser: { containers: 1 } }, ["one", "two"]);
  const { ref } = stand.image(stand.row(idOf("one")).imageId);
  stand.world.apps.set(ref, crashing);
  await stand.lifecycle().wake(idOf("one"), USER);
  await stand.reaches(idOf("one"), "ERROR");
  await wake("two", USER);
  stand.world.apps.set(ref, listening);
  await pass(stand, 10_000);
  await t.rejects(stand.lifecycle().wake(idOf("one"), USER), { code: "USER_CAPACITY_FULL" });
});
