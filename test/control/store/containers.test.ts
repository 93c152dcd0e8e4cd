import { join } from "node:path";
import t, { type Test } from "tap";
import { openStore } from "../../../control/store/open-store.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { type StoreDatabase, storeKinds } from "../../fixtures/store-kinds.ts";
import { newContainer, newImage, PACKAGE, USER } from "../lifecycle/lifecycle-fixture.ts";

const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
const REPLICAS = { min: 1, max: 3, targetConcurrency: 5, windowSeconds: 60 };
const DAY_MS = 86_400_000;

async function filledStore(t: Test, database: StoreDatabase) {
  const store = await openStore({ folder: join(t.testdir(), "data"), clock: createStillClock(), ...database });
  t.teardown(() => store.close());
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert(newImage("web", 7));
  return { store, image };
}

for (const kind of storeKinds(t)) {
  t.test(
    `${kind.name}: the services of containers are listed without those of further replicas, and with replicas only those that have some`,
    async (t) => {
      const { store, image } = await filledStore(t, await kind.fresh());
      const plain = await store.containers.insert(newContainer(image, CONFIG, 7));
      const whole = await store.containers.insert({ ...newContainer(image, { ...CONFIG, replicas: REPLICAS }, 7), folder: "other", name: "other" });
      const replica = newContainer(image, { ...CONFIG, replicas: REPLICAS }, 7);
      await store.containers.insert({ ...replica, folder: "other", name: "other 2", replicaOf: whole.id, replica: 2 });
      const services = (await store.containers.services()).map(({ service }) => service);
      t.same(services.toSorted(), [plain.service, whole.service].toSorted());
      t.same(await store.containers.replicatedOf(PACKAGE), [{ id: whole.id, name: "other", config: whole.config }]);
      t.same(await store.containers.replicatedOf("another"), []);
    },
  );

  t.test(`${kind.name}: the last use of thousands of containers is written in turns of the event loop`, async (t) => {
    const { store, image } = await filledStore(t, await kind.fresh());
    const { id } = await store.containers.insert(newContainer(image, CONFIG, 7));
    const uses = new Map(Array.from({ length: 4_000 }, (_, nth) => [`container ${nth}`, nth]));
    let turns = 0;
    let isOver = false;
    const count = () => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    await store.containers.touch(uses.set(id, 9));
    isOver = true;
    t.ok(turns >= 15, `${turns} turns`);
    t.equal((await store.containers.find(id))?.lastActive, 9);
  });

  t.test(`${kind.name}: a container that comes back with the id of a removed one has no tombstone`, async (t) => {
    const { store, image } = await filledStore(t, await kind.fresh());
    const container = await store.containers.insert(newContainer(image, CONFIG, 7));
    t.ok(await store.containers.remove(container.id, 8));
    t.match(await store.tombstones.find(container.id), { service: container.service });
    await store.containers.insert(container);
    t.equal(await store.tombstones.find(container.id), undefined, "its service would be ended as that of a removed one");
  });

  t.test(`${kind.name}: which images containers run and will run is read in parts`, async (t) => {
    const { store, image } = await filledStore(t, await kind.fresh());
    const containers = Array.from({ length: 5 }, (_, nth) => ({ ...newContainer(image, CONFIG, 7), folder: `web/${nth}`, name: `web-${nth}` }));
    for (const container of containers) await store.containers.insert(container);
    const ids = containers.map(({ id }) => id).toSorted();
    const [first, second] = ids as [string, string];
    await store.containers.update(first, { deployed: { ref: "registry.example/datagrok/web:0", digest: "sha256:00" } });
    t.match(await store.containers.imagesOfEach("", 2), [
      { id: first, image: { ref: image.ref, digest: undefined }, deployed: { ref: "registry.example/datagrok/web:0", digest: "sha256:00" } },
      { id: second, image: { ref: image.ref }, deployed: undefined },
    ]);
    t.same(
      (await store.containers.imagesOfEach(second, 10)).map(({ id }) => id),
      ids.slice(2),
    );
    await store.images.removeAll([image.id], 8, { at: 8, event: "removed", byUser: USER });
    t.same(await store.containers.imagesOfEach("", 10), []);
  });

  t.test(`${kind.name}: an image is found by a part of its reference, as a registry names it`, async (t) => {
    const { store, image } = await filledStore(t, await kind.fresh());
    const other = await store.images.insert({ ...newImage("other", 7), ref: "registry.example:5000/datagrok/web:2" });
    await store.images.insert({ ...newImage("third", 7), ref: "datagrok/third:1" });
    const named = await store.images.ofRepository("datagrok/web");
    t.same(named.map(({ id }) => id).toSorted(), [image.id, other.id].toSorted());
    await store.images.removeAll([other.id], 8, { at: 8, event: "removed", byUser: USER });
    t.same(
      (await store.images.ofRepository("datagrok/web")).map(({ id }) => id),
      [image.id],
    );
    t.equal((await store.images.inUse()).length, 2);
    const authored = await store.images.ofAuthor(USER);
    t.equal(authored.length, 2, "not the deleted one");
    for (const one of authored) t.same(Object.keys(one).toSorted(), ["digest", "id", "packageId", "ref"], "without its texts");
    t.same(await store.images.ofAuthor("44444444-4444-4444-8444-444444444444"), []);
  });

  t.test(`${kind.name}: tombstones stay for a year after their services are gone, and until then in any case`, async (t) => {
    const { store, image } = await filledStore(t, await kind.fresh());
    const [old, open, last] = Array.from({ length: 3 }, (_, nth) => ({ ...newContainer(image, CONFIG, 7), folder: `web/${nth}` }));
    if (!old || !open || !last) throw new Error("no containers");
    for (const container of [old, open, last]) {
      await store.containers.insert(container);
      await store.containers.remove(container.id, DAY_MS);
    }
    await store.tombstones.clear(old.id, 2 * DAY_MS);
    await store.tombstones.clear(last.id, 366 * DAY_MS);
    t.ok(await store.tombstones.find(old.id), "not a year yet");
    await store.tombstones.clear(last.id, 368 * DAY_MS);
    t.equal(await store.tombstones.find(old.id), undefined);
    t.ok(await store.tombstones.find(open.id), "its service may still run");
    t.ok(await store.tombstones.find(last.id));
  });
}
