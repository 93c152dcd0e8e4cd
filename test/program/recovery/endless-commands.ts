/** A process of its own that sends commands without end, and writes down each as soon as it was acknowledged: to be killed at any moment. */
import { writeSync } from "node:fs";
import { systemClock } from "../../../lib/clock.ts";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { listening, openMemoryWorld } from "../../fixtures/memory-driver.ts";
import { newContainer, newImage, USER } from "../../control/lifecycle/lifecycle-fixture.ts";

const [, , folder = "", count = "0"] = process.argv;
const clock = systemClock();
const store = await openStore({ folder, clock });
// Its orchestrator dies with it: what counts here is what the disk has.
const world = openMemoryWorld(clock, { sockets: false });
const log = openLog({ level: "silent", name: "test" });
const lifecycle = await openLifecycle({ store, driver: world.open(), clock, log, environment: "test", injectedEnv: () => ({}), filesFolder: folder });
await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, onDemand: false };
await store.packages.insert({ id: newImage("", 1).packageId, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
const ids: string[] = [];
for (let index = 0; index < Number(count); index++) {
  const image = await store.images.insert({ ...newImage(`app-${index}`, clock.now()), logs: "x".repeat(20_000) });
  world.apps.set(image.ref, listening);
  ids.push((await store.containers.insert(newContainer(image, CONFIG, clock.now()))).id);
}
await lifecycle.start();
for (let nth = 0; ; nth++) {
  const id = ids[nth % ids.length] ?? "";
  const runs = Math.floor(nth / ids.length) % 2 === 0;
  if (runs) await lifecycle.requestStart(id, USER);
  else await lifecycle.requestStop(id, USER);
  writeSync(1, `${id} ${runs ? 1 : 0}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
