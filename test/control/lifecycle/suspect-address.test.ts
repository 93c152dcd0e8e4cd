import { createServer } from "node:net";
import t, { type Test } from "tap";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import type { Observed } from "../../../drivers/driver.ts";
import { listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** A gateway's connect was refused although the container counts as awake: that is what a wake of it means. */
async function started(t: Test, config: Partial<ContainerConfig> = {}, app: MemoryApp = listening) {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config, app });
  await stand.start(id);
  await stand.clock.advance(500);
  const deploys = () => stand.world.callCount(`deploy ${service}`);
  return { stand, id, service, deploys };
}

/** Dead, without an event. */
async function diesUnheard(stand: LifecycleFixture, service: string): Promise<void> {
  stand.world.deaf = true;
  await stand.world.kill(service);
}

const eventsOf = async (stand: LifecycleFixture, id: string) => (await stand.store().history.of(id)).map(({ event }) => event);

t.test("an on-demand container that died without an event is started again by the request that it refused", async (t) => {
  const { stand, id, service } = await started(t, { onDemand: true });
  await diesUnheard(stand, service);
  t.equal((await stand.lifecycle().wake(id, USER)).state, "CHECKING", "at once");
  await eventually("another instance", () => stand.world.callCount(`deploy ${service}`) === 2);
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1, attempts: 1, fault: undefined });
  t.same((await eventsOf(stand, id)).slice(-4), ["doubted", "lost", "startBegan", "answered"], "without time having passed");
  t.equal((await stand.store().history.of(id)).at(-4)?.byUser, USER);
});

t.test("a plain one too, as its desired state says anyway", async (t) => {
  const { stand, id, service, deploys } = await started(t);
  await diesUnheard(stand, service);
  await stand.lifecycle().wake(id, USER);
  await eventually("another instance", () => deploys() === 2);
  await stand.reaches(id, "STARTED");
});

t.test("an unfounded report changes nothing, and a hundred cost one check", async (t) => {
  const { stand, id, deploys } = await started(t, { onDemand: true });
  const before = stand.row(id);
  for (let time = 0; time < 100; time++) await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "STARTED"), { addresses: before.addresses, attempts: 0, runningGeneration: 1 });
  for (let time = 0; time < 100; time++) await stand.lifecycle().wake(id, USER);
  t.equal(stand.row(id).state, "STARTED", "no sooner than a second later is it checked again");
  t.equal((await eventsOf(stand, id)).filter((event) => event === "doubted").length, 1);
  t.equal(deploys(), 2, "which adopts what runs");
  await stand.clock.advance(1_000);
  await stand.lifecycle().wake(id, USER);
  t.equal(stand.row(id).state, "CHECKING");
  await stand.reaches(id, "STARTED");
});

t.test("a death within that second is found at its end", async (t) => {
  const { stand, id, service } = await started(t, { onDemand: true });
  await stand.wake(id);
  await diesUnheard(stand, service);
  await stand.lifecycle().wake(id, USER);
  await stand.clock.advance(1_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
  await stand.wake(id);
});

/** Once `stale` is set, the driver reports the container as running until it is deployed anew, as a swarm may do of a task that has just died. */
async function startedBehindStaleReports(t: Test, config: Partial<ContainerConfig>) {
  const reports: { stale: boolean; last?: Observed | undefined } = { stale: false };
  const stand = await openLifecycleFixture(t, {
    driver: (driver) => ({
      ...driver,
      inspect: async (service, call) => (reports.stale ? reports.last : (reports.last = await driver.inspect(service, call))),
      deploy: (spec, call) => {
        reports.stale = false;
        return driver.deploy(spec, call);
      },
    }),
  });
  const { id, service } = await stand.publish({ config, app: listening });
  await stand.start(id);
  await stand.lifecycle().definitionChanged(id);
  await eventually("an inspection", () => reports.last?.running === true);
  const dies = async () => {
    reports.stale = true;
    await stand.world.kill(service);
  };
  return { stand, id, service, dies };
}

t.test("a death that the orchestrator reports late is a loss all the same, and the container is started again", async (t) => {
  const { stand, id, service, dies } = await startedBehindStaleReports(t, {});
  await dies();
  await eventually("a loss", async () => (await eventsOf(stand, id)).includes("lost"));
  t.match(await stand.reaches(id, "STARTED"), { desiredInstances: 1, attempts: 1, fault: undefined });
  t.match((await stand.store().history.of(id)).findLast(({ event }) => event === "lost")?.cause, { code: "CONTAINER_CRASHED" });
  t.same(stand.world.running(), [service]);
});

t.test("one on demand whose death is reported late sleeps, and nothing of it runs", async (t) => {
  const { stand, id, dies } = await startedBehindStaleReports(t, { onDemand: true });
  await dies();
  await eventually("a loss", async () => (await eventsOf(stand, id)).includes("lostAsleep"));
  await eventually("nothing runs", () => stand.world.running().length === 0);
  await stand.reaches(id, "SYSTEM_STOPPED");
});

t.test("a container that runs and refuses connections is started again after half a minute", async (t) => {
  let instances = 0;
  const app: MemoryApp = {
    ...listening,
    run: ({ listen, ended }) => {
      instances++;
      if (instances > 1) return listen();
      const server = createServer();
      listen(server);
      // It goes deaf, but does not end.
      deafen = () => new Promise((resolve) => void server.close(() => resolve()));
      ended.addEventListener("abort", () => server.close());
    },
  };
  let deafen = async () => {};
  const { stand, id } = await started(t, { onDemand: true }, app);
  await deafen();
  await stand.lifecycle().wake(id, USER);
  await stand.clock.advance(0);
  await stand.clock.advance(29_000);
  t.equal(stand.row(id).state, "CHECKING");
  await stand.clock.advance(1_000);
  await eventually("another instance", () => instances === 2);
  await stand.reaches(id, "STARTED");
});

t.test("one that ran well before it was suspect owes nothing to earlier failures", async (t) => {
  const { stand, id, service, deploys } = await started(t, { onDemand: true });
  for (let round = 1; round <= 6; round++) {
    await stand.clock.advance(60_000);
    await diesUnheard(stand, service);
    await stand.lifecycle().wake(id, USER);
    await eventually("another instance", () => deploys() === round + 1);
    t.equal((await stand.reaches(id, "STARTED")).attempts, 1);
  }
});

t.test("one that dies after each answer is started more slowly each time, and in the end answers with the cause", async (t) => {
  const { stand, id, service, deploys } = await started(t, { onDemand: true });
  for (const waitMs of [0, 1_000, 2_000, 4_000]) {
    const before = deploys();
    await stand.clock.advance(1_000);
    await diesUnheard(stand, service);
    await stand.lifecycle().wake(id, USER);
    await eventually("lost", async () => (await eventsOf(stand, id)).filter((event) => event === "lost").length === before);
    await stand.clock.advance(waitMs);
    await eventually("another instance", () => deploys() === before + 1);
    await stand.reaches(id, "STARTED");
  }
  await stand.clock.advance(1_000);
  await diesUnheard(stand, service);
  await stand.lifecycle().wake(id, USER);
  t.match(await stand.reaches(id, "ERROR"), { attempts: 5, fault: { code: "CONTAINER_CRASHED" } });
  await t.rejects(() => stand.lifecycle().wake(id, USER), { code: "CONTAINER_CRASHED" });
});

t.test("an engine that stays away while a plain container is suspect is the cause of its error, and its return the end of it", async (t) => {
  const { stand, id, service } = await started(t);
  await diesUnheard(stand, service);
  stand.world.away = true;
  await stand.lifecycle().wake(id, USER);
  for (let minute = 0; minute < 6; minute++) await stand.clock.advance(60_000);
  t.match(await stand.reaches(id, "ERROR"), { fault: { code: "ENGINE_UNREACHABLE" }, desiredInstances: 1 });
  stand.world.away = false;
  for (let minute = 0; minute < 3; minute++) await stand.clock.advance(60_000);
  t.match(await stand.reaches(id, "STARTED"), { fault: undefined });
});

t.test("an engine that was away for longer than a check may last loses no running container", async (t) => {
  const server = createServer();
  const { stand, id, service } = await started(t, { onDemand: true }, { ...listening, run: ({ listen }) => listen(server) });
  const port = stand.row(id).addresses[0]?.port;
  // Network and engine are gone together, and come back one after the other.
  await new Promise((resolve) => void server.close(resolve));
  stand.world.away = true;
  await stand.lifecycle().wake(id, USER);
  for (let second = 0; second < 60; second++) await stand.clock.advance(1_000);
  stand.world.away = false;
  for (let second = 0; second < 20; second++) await stand.clock.advance(1_000);
  await new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  await stand.clock.advance(1_000);
  await stand.reaches(id, "STARTED");
  t.notOk((await eventsOf(stand, id)).some((event) => event.startsWith("lost")));
  t.same(stand.world.running(), [service]);
});
