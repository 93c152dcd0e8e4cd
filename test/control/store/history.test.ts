import { join } from "node:path";
import t, { type Test } from "tap";
import { HISTORY_LENGTH } from "../../../control/store/history.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { type StoreDatabase, storeKinds } from "../../fixtures/store-kinds.ts";
import { newContainer, newImage, USER } from "../lifecycle/lifecycle-fixture.ts";

const PACKAGE = "33333333-3333-4333-8333-333333333333";
const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };

async function filled(t: Test, database: StoreDatabase) {
  const store = await openStore({ folder: join(t.testdir(), "data"), clock: createStillClock(), ...database });
  t.teardown(() => store.close());
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 7));
  return { store, image, container: await store.containers.insert(newContainer(image, CONFIG, 7)) };
}

for (const kind of storeKinds(t)) {
  t.test(`${kind.name}: a move is recorded with its cause and its user, without the log lines, which are many`, async (t) => {
    const { store, image, container } = await filled(t, await kind.fresh());
    await store.containers.move(container.id, "SYSTEM_STOPPED", "PENDING_START", {}, { at: 8, event: "startWished", byUser: USER });
    const fault = { code: "NO_CAPACITY", message: "Full.", logs: ["a", "b"] } as const;
    await store.containers.move(
      container.id,
      "PENDING_START",
      "ERROR",
      { fault: { ...fault, logs: [...fault.logs] } },
      { at: 9, event: "startFailed", byUser: undefined },
    );
    await store.images.move(image.id, "PENDING_VALIDATION", "VALIDATING", {}, { at: 10, event: "validationBegan", byUser: undefined });
    t.strictSame(await store.history.of(container.id), [
      { entity: container.id, at: 8, fromState: "SYSTEM_STOPPED", toState: "PENDING_START", event: "startWished", cause: undefined, byUser: USER },
      {
        entity: container.id,
        at: 9,
        fromState: "PENDING_START",
        toState: "ERROR",
        event: "startFailed",
        cause: { code: "NO_CAPACITY", message: "Full." },
        byUser: undefined,
      },
    ]);
    t.equal((await store.history.of(image.id)).length, 1);
  });

  t.test(`${kind.name}: a move that is not made is not recorded, nor one that is undone`, async (t) => {
    const { store, container } = await filled(t, await kind.fresh());
    const reason = { at: 8, event: "startWished", byUser: undefined };
    t.equal(await store.containers.move(container.id, "STARTED", "CHECKING", {}, reason), undefined);
    await t.rejects(() =>
      store.transaction(async () => {
        await store.containers.move(container.id, "SYSTEM_STOPPED", "PENDING_START", {}, reason);
        throw new Error("undone");
      }),
    );
    t.strictSame(await store.history.of(container.id), []);
  });

  t.test(`${kind.name}: it is bounded for each, oldest first, and goes with its container`, async (t) => {
    const { store, image, container } = await filled(t, await kind.fresh());
    await store.images.move(image.id, "PENDING_VALIDATION", "VALIDATING", {}, { at: 1, event: "validationBegan", byUser: undefined });
    await store.transaction(async () => {
      for (let at = 1; at <= HISTORY_LENGTH + 5; at++) {
        await store.containers.move(container.id, "SYSTEM_STOPPED", "SYSTEM_STOPPED", {}, { at, event: "idled", byUser: undefined });
      }
    });
    const entries = await store.history.of(container.id);
    t.equal(entries.length, HISTORY_LENGTH);
    t.match([entries[0]?.at, entries.at(-1)?.at], [6, HISTORY_LENGTH + 5]);
    t.equal((await store.history.of(image.id)).length, 1, "another's is not cut");
    await store.containers.remove(container.id, 9);
    t.strictSame(await store.history.of(container.id), []);
  });
}
