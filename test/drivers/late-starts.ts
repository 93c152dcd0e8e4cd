import type { Test } from "tap";
import { type LifecycleOptions, openLifecycle } from "../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../control/store/open-store.ts";
import { type Driver, type Observed, wrapDriver } from "../../drivers/driver.ts";
import { systemClock } from "../../lib/clock.ts";
import { openLog } from "../../lib/log.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { newContainer, newImage, PACKAGE, USER } from "../control/lifecycle/lifecycle-fixture.ts";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const clock = systemClock();
const log = openLog({ level: "silent", name: "test" });
const NEVER = new AbortController().signal;
const CONFIG = { cpu: 0.5, memoryMb: 128, gpu: 0, shmMb: 64, storageGb: 1, onDemand: false };

/**
 * A call of a deposed leader starts a container at the orchestrator when the next leader has started and stopped it. The next leader recognizes it by its
 * label, and removes it. `ref`: an image with a port. Returns the container's id.
 */
export async function checkLateStart(t: Test, { open, ref, environment }: { open(): Driver; ref: string; environment: string }): Promise<string> {
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock });
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert({ ...newImage("late", clock.now()), ref });
  const { id } = await store.containers.insert(newContainer(image, CONFIG, clock.now()));
  const state = async () => (await store.containers.find(id))?.state;

  const metrics = openMetrics();
  const lead = async (leaderEpoch: number, wrap: (driver: Driver) => Driver = (driver) => driver) => {
    const driver = wrap(open());
    const options: LifecycleOptions = { store, driver, clock, log, environment, injectedEnv: () => ({}), filesFolder: folder, metrics, leaderEpoch };
    const lifecycle = await openLifecycle(options);
    await lifecycle.start();
    return { lifecycle, driver };
  };

  // The first leader's call reaches the orchestrator late, and no abort reaches the call any more.
  const sent = Promise.withResolvers<void>();
  const arrival = Promise.withResolvers<void>();
  let late: Promise<unknown> | undefined;
  const first = await lead(1, (driver) =>
    wrapDriver(driver, {
      deploy: async (spec, call) => {
        sent.resolve();
        const abandoned = Promise.withResolvers<never>();
        call.signal.addEventListener("abort", () => abandoned.reject(call.signal.reason as Error));
        late = arrival.promise.then(() => driver.deploy(spec, { ...call, signal: NEVER }));
        late.catch(() => undefined);
        return abandoned.promise;
      },
    }),
  );
  await first.lifecycle.requestValidation(image.id);
  await first.lifecycle.requestStart(id, USER);
  await sent.promise;
  await first.lifecycle.close();

  const second = await lead(2);
  t.teardown(async () => {
    await second.lifecycle.close();
    await Promise.all([first.driver.close(), second.driver.close()]);
    await store.close();
  });
  const instances = async (): Promise<Observed[]> => (await second.driver.list({ signal: NEVER })).filter(({ labels }) => labels.container === id);
  await eventually("the second leader to start it", async () => (await state()) === "STARTED");
  t.match(await instances(), [{ running: true, labels: { epoch: 2 } }]);
  await second.lifecycle.requestStop(id, USER);
  await eventually("it to be stopped", async () => (await state()) === "USER_STOPPED" && (await instances()).length === 0);
  t.equal(metrics.lateStarts.at().value, 0);

  arrival.resolve();
  await eventually("it to be recognized", () => metrics.lateStarts.at().value === 1);
  await Promise.allSettled([late]);
  await eventually("it to be removed", async () => (await instances()).length === 0 && (await state()) === "USER_STOPPED");
  t.equal(metrics.lateStarts.at().value, 1);
  return id;
}
