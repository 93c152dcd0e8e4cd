/**
 * What a start costs besides the orchestrator: `npm run bench:starts [-- rounds]`. The lifecycle on SQLite and on PostgreSQL, each with an orchestrator in memory,
 * and with the container's variables and token as in the program; PostgreSQL with the fence of a leader. Starts alternate between both, so that what else happens
 * on the machine meets both alike. The figures stand in docs/store.md.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createLeaderRows } from "../../control/leadership/leader-row.ts";
import { openLeaderDatabase } from "../../control/leadership/leader-database.ts";
import { openLifecycle } from "../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../control/store/open-store.ts";
import type { Fence } from "../../control/store/database.ts";
import { parsePostgresAddress, type PostgresOptions } from "../../control/store/postgres/address.ts";
import { systemClock } from "../../lib/clock.ts";
import { openLog } from "../../lib/log.ts";
import { openMemoryWorld } from "../fixtures/memory-driver.ts";
import { startEnvironment } from "../fixtures/start-environment.ts";
import { openBenchDatabase } from "./bench-database.ts";
import { fill, USER } from "./control/fill.ts";

const [rounds = 200] = process.argv.slice(2).map(Number);
const WARM_UP = 40;
const AT_ONCE = 64;
const BURST = 256;
const EPOCH_MS = 3_600_000;

type StartFigures = { name: string; durable: number[]; started: number[]; perS: number };

const clock = systemClock();
const postgres = await openBenchDatabase(["--database", "postgres"]);
console.log(`Medians of ${rounds} starts on each store in turn; load before the run ${loadavg()[0]?.toFixed(1)}`);
const worlds = [await openWorld("SQLite", undefined), await openWorld("PostgreSQL", (await postgres.fresh()).database.postgres)];
for (const { start } of worlds) for (let n = 0; n < WARM_UP; n++) await start();
for (let n = 0; n < rounds; n++)
  for (const { start, figures } of worlds) {
    const { durableMs, startedMs } = await start();
    figures.durable.push(durableMs);
    figures.started.push(startedMs);
  }
for (const { start, figures } of worlds) {
  let left = BURST;
  const from = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) await start();
    }),
  );
  figures.perS = BURST / ((performance.now() - from) / 1_000);
}
const line = (what: string, of: (figures: StartFigures) => string) =>
  console.log([what.padEnd(40), ...worlds.map(({ figures }) => of(figures).padStart(12))].join(""));
line("", ({ name }) => name);
line("request for a start until durable, ms", ({ durable }) => median(durable).toFixed(1));
line("the start without the orchestrator, ms", ({ started }) => median(started).toFixed(1));
line(`starts, ${AT_ONCE} at a time, per s`, ({ perS }) => perS.toFixed(0));
const [sqlite, other] = worlds.map(({ figures }) => median(figures.started));
console.log(`A start takes ${((other ?? 0) - (sqlite ?? 0)).toFixed(1)} ms more on PostgreSQL; load after the run ${loadavg()[0]?.toFixed(1)}`);
for (const { close } of worlds) await close();
await postgres.close();

async function openWorld(name: string, database: PostgresOptions | undefined) {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-"));
  const ids = await fill(folder, WARM_UP + rounds + BURST, { postgres: database });
  const fence = database && (await leaderFence(database));
  const store = await openStore({ folder, clock, postgres: database, fence: () => fence });
  const world = openMemoryWorld(clock, { sockets: false });
  for (const { ref } of await store.images.all()) world.apps.set(ref, { exposed: [80], run: ({ listen }) => listen() });
  const log = openLog({ level: "error", name: "bench" });
  const environment = { environment: "bench", ...(await startEnvironment({ store, folder, clock, log })), filesFolder: folder };
  const lifecycle = await openLifecycle({ store, driver: world.open(), clock, log, ...environment });
  const started = new Map<string, () => void>();
  lifecycle.watch((change) => {
    if ("container" in change && change.container.state === "STARTED") started.get(change.container.id)?.();
  });
  await lifecycle.start();
  return {
    figures: { name, durable: [], started: [], perS: 0 } as StartFigures,
    start: async () => {
      const id = ids.pop();
      if (id === undefined) throw new Error("too few containers");
      const done = new Promise<void>((resolve) => started.set(id, resolve));
      const from = performance.now();
      await lifecycle.wake(id, USER);
      const durableMs = performance.now() - from;
      await done;
      return { durableMs, startedMs: performance.now() - from };
    },
    close: async () => {
      await lifecycle.close();
      await store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Of a process that leads for longer than the run. */
async function leaderFence(options: PostgresOptions): Promise<Fence> {
  const database = openLeaderDatabase(parsePostgresAddress(options), { timeoutMs: 5_000, clock });
  const rows = createLeaderRows(database, { id: "bench", name: "bench", url: "", version: "bench" });
  await rows.prepare();
  const epoch = await rows.acquire(EPOCH_MS);
  await database.close();
  if (epoch === undefined) throw new Error("another process leads");
  return rows.fence(epoch, EPOCH_MS);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}
