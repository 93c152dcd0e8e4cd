import t from "tap";
import type { Container } from "../../../control/model/entities.ts";
import { crashing, listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { type LifecycleFixture, openLifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";

const MINUTE_MS = 60_000;
const WEB = { onDemand: true, shutdownTimeoutMinutes: 1, dependsOn: ["db"] };
const DB = { onDemand: true, shutdownTimeoutMinutes: 1 };

/** Listens once `open` is called. */
function gated(): { app: MemoryApp; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { app: { ...listening, run: (start) => void promise.then(() => start.listen()) }, open: resolve };
}

/** Lets time pass until it is started: it is tried now and then whether it listens. */
async function startsInTime(stand: LifecycleFixture, { id }: Container): Promise<Container> {
  await eventually(`${id} is STARTED`, async () => {
    await stand.clock.advance(100);
    return stand.row(id).state === "STARTED";
  });
  return stand.row(id);
}

async function explain(stand: LifecycleFixture, { id }: Container) {
  return stand.lifecycle().explain(id, new AbortController().signal);
}

t.test("a wake starts what the container depends on first, and the container once that is ready", async (t) => {
  const stand = await openLifecycleFixture(t);
  const gate = gated();
  const cache = await stand.publish({ name: "cache", config: DB });
  const db = await stand.publish({ name: "db", app: gate.app, config: { ...DB, dependsOn: ["cache"] } });
  const web = await stand.publish({ name: "web", config: { ...WEB, dependsOn: ["db", "cache"] } });
  await stand.lifecycle().wake(web.id, USER);
  await stand.reaches(cache.id, "STARTED");
  await stand.reaches(db.id, "STARTING");
  await turns();
  t.equal(stand.row(web.id).state, "PENDING_START");
  t.equal((await explain(stand, web)).why, "Ada requested its start. It waits for db, which it depends on.".replace("Ada", "ada"));
  t.match((await explain(stand, db)).why, /^A container that depends on it was started\./);
  t.match(stand.row(db.id), { requestedBy: USER, requestedFor: "dependency" });
  await stand.clock.advance(700);
  gate.open();
  const { phases } = await startsInTime(stand, web);
  t.ok((phases?.dependencies ?? 0) >= 700, JSON.stringify(phases));
  t.equal(phases?.queue, 0);
  t.match((await explain(stand, db)).why, /^It was started for a container that depends on it/);
});

t.test("it runs for as long as a container that depends on it does, and no longer", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", config: DB });
  const web = await stand.publish({ name: "web", config: { ...WEB, shutdownTimeoutMinutes: 5 } });
  await stand.wake(web.id);
  await stand.clock.advance(4 * MINUTE_MS);
  t.equal(stand.row(db.id).state, "STARTED", "its own time has passed");
  t.same((await explain(stand, db)).awake, [{ kind: "dependents", says: "web depends on it and may use it." }]);
  await stand.clock.advance(MINUTE_MS + 1_000);
  await stand.reaches(web.id, "SYSTEM_STOPPED");
  await stand.reaches(db.id, "SYSTEM_STOPPED");
});

t.test("what failed is the cause that users of its dependents read, and the next request tries both again", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", app: crashing, config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.lifecycle().wake(web.id, USER);
  const failed = await stand.reaches(web.id, "ERROR");
  t.equal(failed.fault?.code, "DEPENDENCY_FAILED");
  t.match(failed.fault?.message, /^The container web depends on db, which failed: .+ended/);
  t.same(failed.fault?.logs, stand.row(db.id).fault?.logs);
  t.equal(stand.world.callCount(`deploy ${web.service}`), 0);
  stand.world.apps.set("datagrok/db:1.0.0", listening);
  await stand.clock.advance(MINUTE_MS);
  await stand.wake(web.id);
  t.equal(stand.row(db.id).state, "STARTED");
});

t.test("a folder that the package does not have is named", async (t) => {
  const stand = await openLifecycleFixture(t);
  const web = await stand.publish({ config: WEB });
  await stand.lifecycle().wake(web.id, USER);
  const { fault } = await stand.reaches(web.id, "ERROR");
  t.match(fault, { code: "DEPENDENCY_FAILED", message: /depends on dockerfiles\/db, which its package does not have/ });
});

t.test("one that ends while a container that depends on it runs is started again, on-demand or not", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.wake(web.id);
  await stand.world.kill(db.service);
  await eventually("it was lost", () => stand.row(db.id).requestedFor === "loss");
  await stand.reaches(db.id, "STARTED");
  t.equal(stand.world.callCount(`deploy ${db.service}`), 2);
});

t.test("a user's stop counts, and the next start of a dependent undoes it", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.wake(web.id);
  await stand.stop(db.id);
  await stand.clock.advance(500);
  t.match([stand.row(db.id).state, stand.row(web.id).state], ["USER_STOPPED", "STARTED"]);
  await stand.stop(web.id);
  await stand.start(web.id);
  t.equal(stand.row(db.id).state, "STARTED");
});

t.test("a user's stop while another one waits for it ends that wait", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", app: gated().app, config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.clock.advance(1_000);
  await stand.lifecycle().wake(web.id, USER);
  await stand.reaches(db.id, "STARTING");
  await stand.lifecycle().requestStop(db.id, USER);
  const { fault } = await stand.reaches(web.id, "ERROR");
  t.match(fault, { code: "DEPENDENCY_FAILED", message: "The container web depends on db, which a user stopped meanwhile." });
  await stand.reaches(db.id, "USER_STOPPED");
});

t.test("after a restart of berth, a start that waited goes on, and so does a wait for idleness", async (t) => {
  const stand = await openLifecycleFixture(t);
  const gate = gated();
  const db = await stand.publish({ name: "db", app: gate.app, config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.lifecycle().wake(web.id, USER);
  await stand.reaches(db.id, "STARTING");
  await stand.lifecycle().close();
  await stand.restart();
  gate.open();
  await startsInTime(stand, web);
  await stand.restart();
  await stand.clock.advance(MINUTE_MS + 1_000);
  await stand.reaches(web.id, "SYSTEM_STOPPED");
  await stand.reaches(db.id, "SYSTEM_STOPPED");
});

/** One gateway. Its use of a container; `seq`: the newest change that it knows. */
function gatewayOf(stand: LifecycleFixture) {
  const lifecycle = stand.lifecycle();
  lifecycle.gatewayJoined("g", lifecycle.seq());
  return async (id: string, open: number, seq = lifecycle.seq()) => {
    await lifecycle.recordUse({ gateway: "g", seq, uses: [{ id, open, streams: open, lastActive: stand.clock.now() }] });
    await turns();
  };
}

t.test("it does not stop while a container that depends on it still stops, and may be used after all", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", config: DB });
  const web = await stand.publish({ name: "web", config: WEB });
  await stand.wake(web.id);
  const use = gatewayOf(stand);
  await use(web.id, 1);
  await use(web.id, 0);
  await stand.clock.advance(1_000);
  await use(db.id, 1);
  await use(db.id, 0);
  const before = stand.lifecycle().seq();
  await stand.clock.advance(MINUTE_MS);
  await stand.reaches(web.id, "PENDING_SYSTEM_STOP");
  await turns();
  t.equal(stand.row(db.id).state, "STARTED", "its own time has passed");
  await use(web.id, 1, before);
  await stand.reaches(web.id, "STARTED");
  t.equal(stand.row(db.id).state, "STARTED");
  await use(web.id, 0);
  await stand.clock.advance(MINUTE_MS);
  await stand.reaches(web.id, "PENDING_SYSTEM_STOP");
  await use(web.id, 0);
  await stand.reaches(web.id, "SYSTEM_STOPPED");
  await stand.reaches(db.id, "PENDING_SYSTEM_STOP");
});

t.test("of two that are stopped for another's place, both run on when the dependent one is used after all", async (t) => {
  const stand = await openLifecycleFixture(t, { capacity: { ofUser: {}, ofAll: { containers: 2 } } });
  const db = await stand.publish({ name: "db", config: { ...DB, shutdownTimeoutMinutes: 60 } });
  const web = await stand.publish({ name: "web", config: { ...WEB, shutdownTimeoutMinutes: 60 } });
  const others = [await stand.publish({ name: "one", config: DB }), await stand.publish({ name: "two", config: DB })];
  const use = gatewayOf(stand);
  await stand.wake(web.id);
  await stand.clock.advance(MINUTE_MS);
  const before = stand.lifecycle().seq();
  for (const { id } of others) await stand.lifecycle().wake(id, USER);
  await turns();
  t.match([stand.row(web.id).state, stand.row(db.id).state], ["PENDING_SYSTEM_STOP", "PENDING_SYSTEM_STOP"]);
  await use(web.id, 1, before);
  await stand.reaches(web.id, "STARTED");
  t.match(stand.row(db.id), { desiredInstances: 1, requestedFor: "dependency", requestedBy: USER });
  await use(web.id, 1);
  await startsInTime(stand, db);
});

t.test("one that was stopped while the dependent one seemed to have failed runs again as soon as that does", async (t) => {
  const stand = await openLifecycleFixture(t, { limits: { statusMs: 20_000 } });
  const db = await stand.publish({ name: "db", config: DB });
  const web = await stand.publish({ name: "web", config: { ...WEB, shutdownTimeoutMinutes: 60 } });
  await stand.wake(web.id);
  await stand.clock.advance(1_000);
  stand.world.away = true;
  stand.world.tell({ kind: "disconnected" });
  await stand.lifecycle().wake(web.id, USER);
  await eventually("the check of web fails", async () => {
    await stand.clock.advance(1_000);
    return stand.row(web.id).state === "ERROR";
  });
  await stand.clock.advance(MINUTE_MS);
  stand.world.away = false;
  stand.world.tell({ kind: "connected" });
  await eventually("both run", async () => {
    await stand.clock.advance(1_000);
    return [web, db].every(({ id }) => stand.row(id).state === "STARTED");
  });
  await stand.clock.advance(2 * MINUTE_MS);
  t.match([stand.row(web.id).state, stand.row(db.id).state], ["STARTED", "STARTED"]);
});

t.test("it runs while replicas of a container that depends on it do, although the first one has failed", async (t) => {
  const stand = await openLifecycleFixture(t);
  const db = await stand.publish({ name: "db", config: DB });
  const replicas = { min: 2, max: 2, targetConcurrency: 10, windowSeconds: 60 };
  const web = await stand.publish({ name: "web", config: { ...WEB, shutdownTimeoutMinutes: 60, replicas } });
  await stand.wake(web.id);
  await eventually("two replicas serve", async () => {
    await stand.clock.advance(1_000);
    return stand.lifecycle().replicasOf(web.id)?.ready === 2;
  });
  const use = gatewayOf(stand);
  stand.world.apps.set("datagrok/web:1.0.0", crashing);
  await stand.world.kill(web.service);
  for (let second = 0; second < 90; second++) {
    await stand.clock.advance(1_000);
    await use(web.id, 1);
  }
  t.equal(stand.lifecycle().replicasOf(web.id)?.ready, 1);
  t.equal(stand.world.callCount(`destroy ${db.service}`), 0);
});
