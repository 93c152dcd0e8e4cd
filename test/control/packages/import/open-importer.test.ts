import { join } from "node:path";
import t, { type Test } from "tap";
import { createImportRecorder, openImporter } from "../../../../control/packages/import/open-importer.ts";
import { readContainer } from "../../../../control/packages/import/plan-import.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import type { Driver } from "../../../../drivers/driver.ts";
import { Fault } from "../../../../lib/fault.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { USER } from "../../lifecycle/lifecycle-fixture.ts";

const MANY = 1_000;
const signal = new AbortController().signal;
const idOf = (kind: string, nth: number) => `${kind}-0000-4000-8000-${String(nth).padStart(12, "0")}`;
const IMAGE = { id: idOf("33333333", 0), name: "app", imageRef: "app:1.0" };
const CONTAINERS = Array.from({ length: MANY }, (_, nth) => ({
  id: idOf("44444444", nth),
  name: `app-${nth}`,
  status: "stopped",
  dockerfile: { id: IMAGE.id },
}));

async function openFixture(t: Test) {
  const clock = createStillClock();
  const store = await openStore({ folder: join(t.testdir(), "data"), clock });
  t.teardown(() => store.close());
  const importer = await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  const defined: string[] = [];
  const lifecycle = { requestValidation: async () => undefined, definitionChanged: async (id: string) => void defined.push(id) };
  const driver = { name: "docker" } as unknown as Driver;
  const take = (dryRun = false, ended = signal) =>
    openImporter({ store, driver, lifecycle, environment: "test", clock }).take(
      { images: [IMAGE], containers: CONTAINERS, adopt: false, dryRun },
      importer,
      ended,
    );
  return { store, take, defined };
}

t.test("while a thousand containers are imported, others read and write, and timers run", async (t) => {
  const { store, take, defined } = await openFixture(t);
  const done = new AbortController();
  let turns = 0;
  const others = (async () => {
    while (!done.signal.aborted) {
      turns++;
      await store.users.update(USER, { friendlyName: String(turns) });
      await new Promise(setImmediate);
    }
  })();
  const planned = await take(true);
  t.ok(turns >= 20, `${turns} turns while it is planned`);
  t.same(await store.containers.all(), []);
  turns = 0;
  const { containers } = await take();
  t.ok(turns >= 40, `${turns} turns while it is imported`);
  done.abort();
  await others;
  t.equal(containers.filter(({ fate }) => fate === "import").length, MANY);
  t.same(
    containers.map(({ fate }) => fate),
    planned.containers.map(({ fate }) => fate),
  );
  t.equal(defined.length, MANY);
  const folders = (await store.containers.all()).map(({ folder }) => folder);
  t.equal(new Set(folders).size, MANY, "each is apart");
  t.equal(folders.filter((folder) => folder === IMAGE.id).length, 1, "one is the image's own");
});

t.test("a container whose image was removed meanwhile is a fault, and not passed over", async (t) => {
  const { store } = await openFixture(t);
  const { container } = createImportRecorder({ store, environment: "test", now: 1, importer: { id: USER, login: "ada" } });
  const imported = readContainer({ ...CONTAINERS[0], dockerfile: { id: IMAGE.id } });
  await t.rejects(container({ container: imported, fate: "import", why: "", adoptable: undefined }), {
    code: "IMAGE_ENTITY_NOT_FOUND",
    message: /removed during the import/,
  });
});

t.test("an import that ends early is repeated for the rest", async (t) => {
  const { store, take, defined } = await openFixture(t);
  const { transaction } = store;
  let left = 5;
  store.transaction = (work, options) => {
    if (left-- === 0) throw new Fault("STORE_FULL", "No space is left for the store.");
    return transaction(work, options);
  };
  await t.rejects(take(), { code: "STORE_FULL" });
  store.transaction = transaction;
  const first = (await store.containers.all()).length;
  t.ok(first > 0 && first < MANY, `${first} were imported`);
  t.equal(defined.length, first, "and each of them is known");
  const { containers } = await take();
  t.equal(containers.filter(({ fate }) => fate === "here").length, first);
  t.equal(containers.filter(({ fate }) => fate === "import").length, MANY - first);
  t.equal((await store.containers.all()).length, MANY);

  const stopped = await openFixture(t);
  await t.rejects(stopped.take(false, AbortSignal.abort(new Error("the client has left"))), { message: "the client has left" });
  t.same(await stopped.store.containers.all(), []);
});
