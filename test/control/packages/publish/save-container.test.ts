import { join } from "node:path";
import t, { type Test } from "tap";
import type { Driver } from "../../../../drivers/driver.ts";
import { openPublisher } from "../../../../control/packages/publish/open-publisher.ts";
import { ZIP_LIMITS } from "../../../../control/packages/publish/receive-upload.ts";
import { MOST_BY_HAND } from "../../../../control/packages/publish/save-container.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { newContainer, USER } from "../../lifecycle/lifecycle-fixture.ts";
import { makeZip } from "./fixtures/make-zip.ts";

const clock = systemClock();
const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };

/** A publisher whose driver has replicas as the test says, and an author. */
async function openFixture(t: Test) {
  const dataFolder = join(t.testdir(), "data");
  const store = await openStore({ folder: dataFolder, clock });
  t.teardown(() => store.close());
  const user = await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  let available: Driver["replicas"] = { mostInPackage: 7 };
  const none = async () => undefined;
  const publisher = await openPublisher({
    store,
    lifecycle: { requestValidation: none, definitionChanged: none, remove: none },
    credentials: { record: async () => [] },
    dataFolder,
    environment: "test",
    replicas: () => available,
    keepVersions: 5,
    maxPackageBytes: 100_000,
    limits: ZIP_LIMITS,
    clock,
  });
  const request = { name: "demo", user, signal: new AbortController().signal };
  const publish = async (json: object) => {
    const zip = await makeZip({ "package.json": '{"name":"demo","version":"1.0.0"}', "dockerfiles/web/container.json": JSON.stringify(json) });
    const body = (async function* () {
      yield zip;
    })();
    return publisher.publish({ ...request, authorize: async () => user, debug: false, body });
  };
  const by = { userId: USER, admin: false };
  const saveByHand = async (name: string, config: Record<string, unknown>) => {
    const [image] = await store.images.all();
    if (!image) throw new Error("nothing is published");
    return publisher.save({ by, image, id: undefined, name, config });
  };
  return { store, publisher, publish, saveByHand, by, request, setReplicas: (now: Driver["replicas"]) => void (available = now) };
}

const IMAGE = { image: "app:1", port: 80 };
const replicas = (max: number) => ({ replicas: { max } });

t.test("replicas of a saved container are checked with those of its whole package, as a publish checks them", async (t) => {
  const { store, publisher, publish, saveByHand, by, request, setReplicas } = await openFixture(t);
  await publish({ ...IMAGE, ...replicas(4) });
  const [container] = await store.containers.all();
  if (!container) throw new Error("nothing is published");
  const tooMany = { code: "REQUEST_INVALID", message: /up to 8 replicas together.*Lower max\.$/ };
  await t.rejects(saveByHand("by-hand", replicas(4)), tooMany);
  t.equal((await store.containers.all()).length, 1, "nothing is stored");
  const byHand = await saveByHand("by-hand", replicas(3));
  await t.rejects(publisher.save({ by, container, config: replicas(5) }), tooMany);
  await t.rejects(publisher.save({ by, container: byHand, config: replicas(4) }), tooMany);
  await publisher.save({ by, container: byHand, config: replicas(2) });
  await publisher.save({ by, container, config: replicas(5) });

  await t.rejects(
    publish({ ...IMAGE, ...replicas(6) }),
    { code: "PACKAGE_INVALID", message: /up to 8 replicas together/ },
    "with those made by hand",
  );
  await publish({ ...IMAGE, ...replicas(5) });
  await publisher.save({ by, container: byHand, config: replicas(1) });
  await publish(IMAGE);

  setReplicas(undefined);
  await t.rejects(publisher.save({ by, container, config: replicas(2) }), { code: "REQUEST_INVALID", message: /replicas is not available/ });
  await publisher.save({ by, container, config: { cpu: 2 } });
  await t.rejects(publisher.rollBack({ ...request, to: 2 }), { code: "PACKAGE_INVALID", message: /replicas is not available/ }, "nor do they return");
});

t.test("who may no longer manage a package when a container is stored saves none", async (t) => {
  const { store, publisher, publish, saveByHand, by } = await openFixture(t);
  await publish(IMAGE);
  const [container] = await store.containers.all();
  if (!container) throw new Error("nothing is published");
  await store.users.update(USER, { blockedOn: 1 });
  await t.rejects(publisher.save({ by, container, friendlyName: "Mine" }), { code: "NOT_PERMITTED" });
  await t.rejects(saveByHand("by-hand", {}), { code: "NOT_PERMITTED" });
  t.same(
    (await store.containers.all()).map(({ friendlyName }) => friendlyName),
    [container.friendlyName],
  );
});

t.test("a package has a bounded number of containers that were made by hand", async (t) => {
  const { store, publish, saveByHand } = await openFixture(t);
  await publish(IMAGE);
  const [image] = await store.images.all();
  if (!image) throw new Error("nothing is published");
  await saveByHand("first", {});
  await store.transaction(async () => {
    for (let nth = 1; nth < MOST_BY_HAND; nth++)
      await store.containers.insert({ ...newContainer(image, CONFIG, 7), packageId: image.packageId, folder: `web/${nth}`, name: `by-hand-${nth}` });
  });
  await t.rejects(saveByHand("one-more", {}), { code: "REQUEST_INVALID", message: /made by hand/ });
});
