import t from "tap";
import { wakePhases } from "../../../control/api/container-diagnostics.ts";
import { WAKES_KEPT } from "../../../control/store/history.ts";
import { crashing, listening, mute } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

t.test("a wake is recorded with its user, its reason and the time of each part", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ config: { onDemand: true } });
  const now = stand.clock.now();
  await stand.lifecycle().wake(id, USER);
  t.match(
    await stand.store().wakes.of(id),
    [{ requestedAt: now, startReason: "request", byUser: USER, begunOn: undefined, endedOn: undefined }],
    "at once",
  );
  const { phases } = await stand.reaches(id, "STARTED");
  t.match(await stand.store().wakes.of(id), [{ outcome: "answered", phases, connectMs: undefined, fault: undefined }]);
  await stand.store().wakes.connected(id, 7);
  await stand.store().wakes.connected(id, 9);
  t.match(await stand.store().wakes.of(id), [{ connectMs: 7 }], "the first who connected is the one");
});

t.test("one that failed is kept with its cause, one that a user broke off without", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ app: crashing });
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "ERROR");
  t.match(await stand.store().wakes.of(id), [
    { startReason: "run", outcome: "startFailed", fault: { code: "CONTAINER_CRASHED" }, phases: undefined },
  ]);
  const [failed] = await stand.store().wakes.of(id);
  t.type(failed?.reached?.create, "number", "the phases until then are kept");
  t.same(
    failed &&
      wakePhases(failed, Date.now())
        .map(({ name }) => name)
        .slice(0, 2),
    ["queue", "create"],
  );
  stand.world.apps.set(stand.image(stand.row(id).imageId).ref, mute);
  await stand.lifecycle().requestStart(id, USER);
  await stand.clock.advance(2_000);
  await stand.reaches(id, "STARTING");
  await stand.stop(id);
  const [broken] = await stand.store().wakes.of(id);
  t.match(broken, { outcome: "stopWished", fault: undefined, begunOn: Number, endedOn: Number });
});

t.test("a crash of a running container is a wake of its own, without a user", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish();
  await stand.start(id);
  await stand.world.kill(service);
  await stand.clock.advance(1_000);
  await stand.reaches(id, "STARTED");
  t.match(await stand.store().wakes.of(id), [
    { startReason: "loss", byUser: undefined, outcome: "answered" },
    { startReason: "run", byUser: USER, outcome: "answered" },
  ]);
});

t.test("a start that a kill of berth interrupts goes on as the same wake", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ app: mute });
  await stand.lifecycle().requestStart(id, USER);
  await stand.reaches(id, "STARTING");
  stand.world.forget();
  await stand.restart();
  await stand.stop(id);
  t.match(await stand.store().wakes.of(id), [{ outcome: "stopWished" }]);
  t.equal((await stand.store().wakes.of(id)).length, 1);
});

t.test("the last of them are kept, and go with their container", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish({ app: listening });
  for (let round = 0; round < WAKES_KEPT + 2; round++) {
    await stand.start(id);
    await stand.stop(id);
  }
  t.equal((await stand.store().wakes.of(id)).length, WAKES_KEPT);
  await stand.lifecycle().remove(id);
  t.same(await stand.store().wakes.of(id), []);
});

t.test("its parts follow each other, as far as they are known", async (t) => {
  const wake = {
    container: "c",
    requestedAt: 1_000,
    startReason: undefined,
    byUser: undefined,
    outcome: undefined,
    connectMs: undefined,
    fault: undefined,
  };
  const phases = { queue: 5, pull: 200, create: 30, boot: 400 };
  for (const [what, more, bars] of [
    ["waits", { begunOn: undefined, endedOn: undefined, phases: undefined }, [["queue", 0, 500]]],
    [
      "starts",
      { begunOn: 1_100, endedOn: undefined, phases: undefined },
      [
        ["queue", 0, 100],
        ["start", 100, 400],
      ],
    ],
    [
      "is reached",
      { begunOn: 1_010, endedOn: 1_640, phases, connectMs: 2 },
      [
        ["queue", 0, 10],
        ["pull", 10, 200],
        ["create", 210, 30],
        ["boot", 240, 400],
        ["connect", 640, 2],
      ],
    ],
    ["failed before it began", { begunOn: undefined, endedOn: 1_300, phases: undefined }, [["queue", 0, 300]]],
  ] as const) {
    t.same(
      wakePhases({ ...wake, ...more }, 1_500),
      bars.map(([name, start, duration]) => ({ name, start, duration })),
      what,
    );
  }
});
