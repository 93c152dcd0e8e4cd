import t, { type Test } from "tap";
import { createEndCounts } from "../../../control/lifecycle/addresses.ts";
import { createMoves } from "../../../control/lifecycle/moves.ts";
import type { Container, OwnedAddress } from "../../../control/model/entities.ts";
import type { PostgresOptions } from "../../../control/store/postgres/address.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { startPostgres, WRITES_LATE } from "../../fixtures/postgres.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { newContainer, newImage, PACKAGE, USER } from "./lifecycle-fixture.ts";

const ADDRESS: OwnedAddress = { host: "127.0.0.1", port: 5353, instance: "old" };

/** One container that runs at ADDRESS, and one that is being started. */
async function openMoves(t: Test, postgres?: PostgresOptions) {
  const clock = systemClock();
  const store = await openStore({ folder: tempFolder(t), clock, postgres });
  t.teardown(() => store.close());
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const insert = async (name: string, patch: Partial<Container>) => {
    const image = await store.images.insert(newImage(name, 1));
    const config = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
    return store.containers.insert({ ...newContainer(image, config, 1), desiredInstances: 1, stopFor: undefined, ...patch });
  };
  const holder = await insert("holder", { state: "STARTED", addresses: [ADDRESS] });
  const other = await insert("other", { state: "STARTING" });
  const log = openLog({ level: "silent", name: "test" });
  const published: string[] = [];
  const moves = createMoves({
    store,
    changes: { publish: ({ name, state }) => store.afterCommit(() => published.push(`${name} ${state}`)), publishImage: () => undefined },
    queue: { add: () => undefined },
    ends: createEndCounts(),
    clock,
    logs: { images: log, containers: log },
    steps: { takePhases: () => undefined },
  });
  return { store, moves, holder, other, published };
}

t.test("a start that ends after its container was to stop takes no address from another container", async (t) => {
  const { store, moves, holder, other, published } = await openMoves(t);
  for (const change of [{ desiredInstances: 0, stopFor: "user" }, { generation: other.generation + 1 }] as const) {
    await store.containers.update(other.id, change);
    t.equal(await moves.container(other, "answered", { addresses: [{ ...ADDRESS, instance: "new" }] }), undefined);
    t.match(await store.containers.find(holder.id), { state: "STARTED", addresses: [ADDRESS] });
    t.match(await store.containers.find(other.id), { state: "STARTING", addresses: [] });
    await store.containers.update(other.id, { desiredInstances: 1, stopFor: undefined, generation: other.generation });
  }
  t.same(published, []);
  t.ok(await moves.container(other, "answered", { addresses: [{ ...ADDRESS, instance: "new" }] }));
  t.same(published, ["holder CHECKING", "other STARTED"]);
});

t.test("an address that was taken from a container stays taken in a crash of the database", async (t) => {
  const server = await startPostgres(t, WRITES_LATE);
  const { store, moves, holder, other } = await openMoves(t, await server.database());
  await moves.claimAddresses(other, [{ ...ADDRESS, instance: "new" }], true);
  await server.stop("SIGKILL");
  await server.start();
  t.match(await store.containers.find(holder.id), { state: "CHECKING", addresses: [] });
  t.match(await store.containers.find(other.id), { addresses: [{ instance: "new" }] });
});
