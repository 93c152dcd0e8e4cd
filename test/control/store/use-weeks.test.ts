import { join } from "node:path";
import t from "tap";
import { firstLearnedWeek, hourOf, weekOf } from "../../../control/model/usual-hours.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { storeKinds } from "../../fixtures/store-kinds.ts";
import { newContainer, newImage, PACKAGE, USER } from "../lifecycle/lifecycle-fixture.ts";

const NOW = 1_790_000_400_000;
const CONFIG = { cpu: 1, memoryMb: 512, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true, shutdownTimeoutMinutes: 5 };
const USE = { used: true, starts: 1, waitMs: 1_500, runMs: 90_000 };

for (const kind of storeKinds(t)) {
  const open = async (t: import("tap").Test) => {
    const [folder, database] = [join(t.testdir(), "data"), await kind.fresh()];
    const store = await openStore({ folder, clock: createStillClock(), ...database });
    await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
    await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
    const image = await store.images.insert({ ...newImage("web", NOW), packageId: PACKAGE });
    const add = (id: string, createdOn = NOW) =>
      store.containers.insert({ ...newContainer(image, CONFIG, createdOn), id, name: id, service: `berth-${id}` });
    return { store, folder, database, add };
  };

  t.test(`${kind.name}: hours add up, survive a restart, and go with their container`, async (t) => {
    const { store, folder, database, add } = await open(t);
    await add("a");
    const hour = hourOf(NOW);
    const nothing = { used: false, starts: 0, waitMs: 0, runMs: 30_000 };
    await store.useWeeks.add(
      hour,
      new Map([
        ["a", USE],
        ["gone", USE],
      ]),
    );
    await store.useWeeks.add(hour, new Map([["a", nothing]]));
    await store.useWeeks.add(hour - 1, new Map([["a", { ...nothing, runMs: 99 * 3_600_000 }]]));
    await store.close();
    const again = await openStore({ folder, clock: createStillClock(), ...database });
    t.teardown(() => again.close());
    t.strictSame((await again.useWeeks.of(["a"], 0)).get("a"), [
      { ...nothing, hour: hour - 1, runMs: 3_600_000 },
      { hour, used: true, starts: 1, waitMs: 1_500, runMs: 120_000 },
    ]);
    t.strictSame(await again.useWeeks.containers(""), ["a"], "none of a container that does not exist");
    await again.containers.remove("a", NOW);
    t.strictSame(await again.useWeeks.containers(""), []);
  });

  t.test(`${kind.name}: a container has at most six weeks, of 168 hours each`, async (t) => {
    const { store, add } = await open(t);
    t.teardown(() => store.close());
    await add("a");
    for (let week = 0; week < 9; week++) await store.useWeeks.add(hourOf(NOW) - week * 168, new Map([["a", USE]]));
    await store.useWeeks.removeBefore(firstLearnedWeek(NOW));
    const hours = (await store.useWeeks.of(["a"], 0)).get("a") ?? [];
    t.ok(new Set(hours.map(({ hour }) => weekOf(hour))).size <= 6, `${hours.length} weeks`);
    t.ok(hours.length >= 5);
  });

  t.test(`${kind.name}: what containers could have run counts from their creation to a user's stop`, async (t) => {
    const { store, add } = await open(t);
    t.teardown(() => store.close());
    const hour = 3_600_000;
    await add("sleeps", NOW - 100 * hour);
    await add("new", NOW - hour);
    await add("stopped", NOW - 100 * hour);
    await store.containers.update("stopped", { since: NOW - 5 * hour });
    await store.containers.move("stopped", "SYSTEM_STOPPED", "USER_STOPPED", { since: NOW - 5 * hour });
    const span = { from: NOW - 10 * hour, to: NOW };
    t.strictSame(await store.containers.lived(span), { ms: (10 + 1 + 5) * hour, mbSeconds: 16 * 3_600 * 512 });
    t.strictSame(await store.containers.lived({ ...span, ids: ["new"] }), { ms: hour, mbSeconds: 3_600 * 512 });
    t.strictSame(await store.containers.lived({ ...span, ids: [] }), { ms: 0, mbSeconds: 0 });
  });
}
