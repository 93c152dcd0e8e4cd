import { randomUUID } from "node:crypto";
import t from "tap";
import { type LifecycleOptions, openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { dockerDriver } from "../../../drivers/docker/driver.ts";
import { type Driver, wrapDriver } from "../../../drivers/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { newContainer, newImage, PACKAGE, USER } from "../../control/lifecycle/lifecycle-fixture.ts";
import { openEngine } from "../../fixtures/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const clock = systemClock();
const log = openLog({ level: "silent", name: "test" });
const { docker, host } = openEngine();
const images = await buildTestImages(docker, ["onDemand"]);
const network = `berth-late-${randomUUID().slice(0, 8)}`;
const CONFIG = { cpu: 0.5, memoryMb: 128, gpu: 0, shmMb: 64, storageGb: 1, onDemand: false };

t.teardown(async () => {
  for (const { Id } of await docker.listContainers({ all: true, filters: { network: [network] } }))
    await docker.getContainer(Id).remove({ force: true });
  for (const { Id } of await docker.listNetworks({ filters: { label: [`berth.network=${network}`] } })) await docker.getNetwork(Id).remove();
});

t.test("a container that a deposed leader's call starts late on a real engine is recognized by its epoch, and removed", async (t) => {
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock });
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert({ ...newImage("late", clock.now()), ref: images.onDemand });
  const { id, service } = await store.containers.insert(newContainer(image, CONFIG, clock.now()));
  const state = async () => (await store.containers.find(id))?.state;
  const instances = () => docker.listContainers({ all: true, filters: { label: [`berth.container=${id}`] } });

  const metrics = openMetrics();
  const lead = async (leaderEpoch: number, wrap: (driver: Driver) => Driver = (driver) => driver) => {
    const driver = wrap(dockerDriver({ host, network, reach: "address", clock, log }));
    const options: LifecycleOptions = {
      store,
      driver,
      clock,
      log,
      environment: network,
      injectedEnv: () => ({}),
      filesFolder: folder,
      metrics,
      leaderEpoch,
    };
    const lifecycle = await openLifecycle(options);
    await lifecycle.start();
    return { lifecycle, driver };
  };

  // The first leader's call reaches the engine late, and no abort reaches the call any more.
  const sent = Promise.withResolvers<void>();
  const arrival = Promise.withResolvers<void>();
  let late: Promise<unknown> | undefined;
  const first = await lead(1, (driver) =>
    wrapDriver(driver, {
      deploy: async (spec, call) => {
        sent.resolve();
        const abandoned = Promise.withResolvers<never>();
        call.signal.addEventListener("abort", () => abandoned.reject(call.signal.reason as Error));
        late = arrival.promise.then(() => driver.deploy(spec, { ...call, signal: new AbortController().signal }));
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
  await eventually("the second leader to start it", async () => (await state()) === "STARTED");
  const [started] = await instances();
  t.match(started?.Labels, { "berth.epoch": "2" });
  await second.lifecycle.requestStop(id, USER);
  await eventually("it to be stopped", async () => (await state()) === "USER_STOPPED" && (await instances()).length === 0);
  t.equal(metrics.lateStarts.at().value, 0);

  arrival.resolve();
  await eventually("it to be recognized", () => metrics.lateStarts.at().value === 1);
  await Promise.allSettled([late]);
  await eventually("it to be removed", async () => (await instances()).length === 0 && (await state()) === "USER_STOPPED");
  let text = "";
  const until = Math.ceil(clock.now() / 1_000);
  for await (const piece of await docker.getEvents({ since: 0, until, filters: { event: ["start"], label: [`berth.container=${id}`] } }))
    text += String(piece);
  const starts = text.split("\n").filter(Boolean);
  const epochs = starts.map((line) => (JSON.parse(line) as { Actor: { Attributes: Record<string, string> } }).Actor.Attributes["berth.epoch"]);
  t.same(epochs, ["2", "1"], `the engine started one of each leader, of ${service}`);
});
