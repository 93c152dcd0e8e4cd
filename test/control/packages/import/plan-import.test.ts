import { join } from "node:path";
import t from "tap";
import { createImportRecorder } from "../../../../control/packages/import/open-importer.ts";
import { createImportPlanner, readContainer } from "../../../../control/packages/import/plan-import.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { USER } from "../../lifecycle/lifecycle-fixture.ts";

const IMAGE = { id: "33333333-3333-4333-8333-333333333333", name: "app", imageRef: "app:1.0" };

/** As another server tells of a container that runs under this name. */
const imported = (nth: number, serviceName: string) =>
  readContainer({ id: `44444444-4444-4444-8444-44444444444${nth}`, name: `app-${nth}`, status: "started", serviceName, dockerfile: IMAGE });

t.test("a name whose adopted instance is still to be ended is not adopted again: that end would hit the new one", async (t) => {
  const store = await openStore({ folder: join(t.testdir(), "data"), clock: createStillClock() });
  t.teardown(() => store.close());
  const importer = await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  const recorder = createImportRecorder({ store, environment: "test", now: 1, importer });
  const plan = async (nth: number, isRecorded = false) => {
    const container = imported(nth, "spawned");
    const adoptable = new Map([[container.id, { instance: String(nth).repeat(64), addresses: [], port: undefined }]]);
    const planner = createImportPlanner(store, adoptable);
    const image = container.image && (await planner.image(container.image));
    if (isRecorded && image) await recorder.image(image);
    const planned = await planner.container(container);
    if (isRecorded) await recorder.container(planned);
    return planned;
  };
  const fate = async (nth: number) => (await plan(nth)).fate;
  await plan(1, true);
  t.equal((await store.containers.byService("spawned"))?.adopted?.instance, "1".repeat(64));
  await store.containers.remove(imported(1, "spawned").id, 2);
  t.equal(await fate(2), "import");
  await store.tombstones.clear(imported(1, "spawned").id, 3);
  t.equal(await fate(2), "adopt");
  t.end();
});
