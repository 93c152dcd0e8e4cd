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
  t.match((await explain(stand, db)).awake, [{ kind: "dependents", says: "web depends on it and may use it." }]);
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
