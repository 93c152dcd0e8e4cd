/**
 * What keeping containers costs while nothing happens: `npm run bench:reconcile -- [10,100,1000,10000] [--database postgres]`. The lifecycle on a real store,
 * with so many containers that run in the tests' orchestrator in memory: these figures contain the calls of the orchestrator, but not its own time. CPU is that of
 * this process, without the database server's.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIFECYCLE_LIMITS } from "../../control/lifecycle/limits.ts";
import { openLifecycle } from "../../control/lifecycle/open-lifecycle.ts";
import type { ContainerConfig } from "../../control/model/entities.ts";
import { openStore } from "../../control/store/open-store.ts";
import { openLog } from "../../lib/log.ts";
import { newContainer, newImage } from "../control/lifecycle/lifecycle-fixture.ts";
import { openMemoryWorld } from "../fixtures/memory-driver.ts";
import { createStillClock, turns } from "../fixtures/clock.ts";
import { waitForStatements } from "../fixtures/store-kinds.ts";
import { openBenchDatabase } from "./bench-database.ts";

const benchDatabase = await openBenchDatabase();
const SIZES = (benchDatabase.words[0] ?? "10,100,1000,10000").split(",").map(Number);
const PASSES = 30;
const CONFIG: ContainerConfig = { cpu: 0.25, memoryMb: 512, gpu: 0, shmMb: 64, storageGb: 21, onDemand: false };

waitForStatements();
console.log(`${benchDatabase.name}; a pass, every ${LIFECYCLE_LIMITS.sweepMs / 1_000} s; medians of ${PASSES}`);
console.log(
  ["containers", "calls a pass", "ms a pass", "ms of CPU a pass", "share of a core", "start of all, ms", "calls to start one"].map(cell).join(""),
);
for (const size of SIZES) await measure(size);
await benchDatabase.close();
process.exit(0);

async function measure(size: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-reconcile-"));
  const clock = createStillClock();
  const world = openMemoryWorld(clock);
  const { database } = await benchDatabase.fresh();
  const store = await openStore({ folder, clock, ...database });
  const lifecycle = await openLifecycle({
    store,
    driver: world.open(),
    clock,
    log: openLog({ level: "silent", name: "bench" }),
    environment: "bench",
    injectedEnv: () => ({}),
    filesFolder: folder,
  });
  const user = randomUUID();
  await store.users.insert({ id: user, login: "ada", friendlyName: "Ada", admin: false, createdOn: 1 });
  const image = newImage("bench", clock.now());
  await store.packages.insert({ id: image.packageId, name: "bench", version: "1.0.0", authorId: user, createdOn: 1, updatedOn: 1 });
  // No port, and so no socket of each in this process: what is measured is the lifecycle.
  world.apps.set(image.ref, { exposed: [], run: () => undefined });
  await store.images.insert(image);
  const all = await Promise.all(
    Array.from({ length: size }, async (_, n) =>
      store.containers.insert({ ...newContainer(image, CONFIG, clock.now()), folder: `bench-${n}`, name: `bench-${n}` }),
    ),
  );
  await lifecycle.start();
  await lifecycle.requestValidation(image.id);
  const begun = performance.now();
  for (const { id } of all) await lifecycle.requestStart(id, user);
  while ((await store.containers.stateOfEach()).some(({ state }) => state !== "STARTED")) await clock.advance(100);
  const started = performance.now() - begun;
  const toStart = world.calls.length;
  const passes: { ms: number; cpuUs: number; calls: number }[] = [];
  for (let pass = 0; pass < PASSES; pass++) {
    world.calls.length = 0;
    const [from, before] = [performance.now(), process.cpuUsage()];
    await clock.advance(LIFECYCLE_LIMITS.sweepMs);
    await turns(20);
    const { user: ours, system } = process.cpuUsage(before);
    passes.push({ ms: performance.now() - from, cpuUs: ours + system, calls: world.calls.length });
  }
  const ms = median(passes.map(({ cpuUs }) => cpuUs)) / 1_000;
  const calls = median(passes.map((one) => one.calls));
  const share = `${((ms / LIFECYCLE_LIMITS.sweepMs) * 100).toFixed(3)} %`;
  console.log(
    [size, calls, median(passes.map((one) => one.ms)).toFixed(2), ms.toFixed(2), share, started.toFixed(0), (toStart / size).toFixed(1)]
      .map(cell)
      .join(""),
  );
  await lifecycle.close();
  await store.close();
  await world.close();
  rmSync(folder, { recursive: true });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function cell(value: string | number): string {
  return String(value).padStart(20);
}
