import t from "tap";
import type { MemoryApp } from "../../fixtures/memory-driver.ts";
import { crashing, listening, mute } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, type LifecycleFixture, USER } from "./lifecycle-fixture.ts";

const GATEWAY = "gateway-1";
const MINUTE = 60_000;
const signal = new AbortController().signal;

const explain = (stand: LifecycleFixture, id: string) => stand.lifecycle().explain(id, signal);
const kinds = (timers: readonly { kind: string }[]) => timers.map(({ kind }) => kind);

t.test("the explanation of a sleeping container: a request starts it, and the engine has no container", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true } });
  t.match(await explain(stand, id), {
    why: /request wakes/,
    timers: { length: 0 },
    awake: { length: 0 },
    failure: undefined,
    history: { length: 0 },
    engine: { fact: undefined },
  });
});

t.test("the explanation of a running container: who started it, what keeps it awake and when it sleeps", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 10 } });
  await stand.wake(id);
  const asleepAt = stand.row(id).since + 10 * MINUTE;
  const idle = await explain(stand, id);
  t.match(idle, { why: /ada/, timers: [{ kind: "idleStop", at: asleepAt }], engine: { fact: { running: true, service } } });
  t.same(kinds(idle.awake), ["recentUse"]);

  stand.lifecycle().gatewayJoined(GATEWAY, stand.lifecycle().seq());
  const uses = [{ id, open: 1, streams: 3, lastActive: stand.clock.now() }];
  await stand.lifecycle().recordUse({ gateway: GATEWAY, seq: stand.lifecycle().seq(), uses });
  const used = await explain(stand, id);
  t.same(kinds(used.awake), ["requests", "sockets"]);
  t.same(used.timers, [], "an open request keeps it for as long as it is open");
});

t.test("one that nothing puts to sleep says so", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish();
  await stand.start(id);
  t.same(kinds((await explain(stand, id)).awake), ["neverIdle"]);
});

t.test("a start under way says what it waits for, and when it is given up", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ app: mute, config: { onDemand: true } });
  await stand.lifecycle().wake(id, USER);
  const { since } = await stand.reaches(id, "STARTING");
  const { timers, why } = await explain(stand, id);
  t.match(timers, [{ kind: "startLimit", at: since + 300_000 }]);
  t.equal(timers.length, 1);
  t.match(why, /nothing accepts connections on port 5353/);
});

t.test("a failed start is explained with its cause, its log tail and the time of the next try, also once it runs again", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ app: crashing, config: { onDemand: true } });
  await stand.lifecycle().wake(id, USER);
  const { notBefore, since } = await stand.reaches(id, "ERROR");
  const failed = await explain(stand, id);
  t.match(failed, { timers: [{ kind: "backOff", at: notBefore }], failure: { at: since, code: "CONTAINER_CRASHED", logs: ["crash: giving up"] } });
  t.match(failed.history.at(-1), { event: "startFailed", toState: "ERROR" });

  stand.world.apps.set(stand.image(stand.row(id).imageId).ref, listening);
  await stand.clock.advance(notBefore - stand.clock.now());
  await stand.wake(id);
  t.match(await explain(stand, id), { failure: { at: since, logs: ["crash: giving up"] }, engine: { fact: { service, running: true } } });
});

t.test("the explanation names the user who stopped it, else idleness", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { shutdownTimeoutMinutes: 1 } });
  await stand.start(id);
  await stand.clock.advance(2 * MINUTE);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.match((await explain(stand, id)).why, /after 1 minute without traffic/);
  await stand.start(id);
  await stand.stop(id);
  t.match((await explain(stand, id)).why, /ada/);
});

t.test("an unavailable engine is reported in its place, without a delay", async (t) => {
  const app: MemoryApp = listening;
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ app });
  stand.world.away = true;
  t.match(await explain(stand, id), { engine: { says: /away/, fact: undefined } });
  await t.rejects(explain(stand, USER), { code: "CONTAINER_NOT_FOUND" });
});
