import { Client } from "pg";
import t from "tap";
import { openLifecycle } from "../../../../control/lifecycle/open-lifecycle.ts";
import type { Fence } from "../../../../control/store/database.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { openLog } from "../../../../lib/log.ts";
import { fill, USER } from "../../../bench/control/fill.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { openMemoryWorld } from "../../../fixtures/memory-driver.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const STARTS = 12;

/** Two for each of the three transactions, and one for the deploy. */
const ROUND_TRIPS = 7;

/** Counts how often a statement is sent while no other waits for its result. */
function countRoundTrips(): { count: () => number; isIdle: () => boolean } {
  let [waiting, count] = [0, 0];
  const original = Client.prototype.query as (...args: unknown[]) => unknown;
  const counted = function (this: unknown, ...args: unknown[]): unknown {
    const result = original.apply(this, args);
    if (!(result instanceof Promise)) return result;
    if (waiting++ === 0) count++;
    const end = () => void waiting--;
    result.then(end, end);
    return result;
  };
  Client.prototype.query = counted as Client["query"];
  return { count: () => count, isIdle: () => waiting === 0 };
}

t.test("a start waits seven times for the database, with the leader's fence", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const folder = tempFolder(t);
  const clock = systemClock();
  const ids = await fill(folder, STARTS, { postgres });
  let checks = 0;
  const fence: Fence = {
    statement: "SELECT 1 AS leads",
    check: (rows) => {
      if (rows.length === 1) checks++;
    },
  };
  const store = await openStore({ folder, clock, postgres, fence: () => fence });
  t.teardown(() => store.close());
  const world = openMemoryWorld(clock, { sockets: false });
  for (const { ref } of await store.images.all()) world.apps.set(ref, { exposed: [80], run: ({ listen }) => listen() });
  const lifecycle = await openLifecycle({
    store,
    driver: world.open(),
    clock,
    log: openLog({ level: "silent", name: "test" }),
    environment: "test",
    injectedEnv: () => ({}),
    filesFolder: folder,
  });
  t.teardown(() => lifecycle.close());
  await lifecycle.start();
  const roundTrips = countRoundTrips();
  const counts: number[] = [];
  for (const id of ids) {
    await eventually("nothing is under way", () => roundTrips.isIdle() && lifecycle.depth().running + lifecycle.depth().waiting === 0);
    const started = Promise.withResolvers<void>();
    const unwatch = lifecycle.watch((change) => {
      if ("container" in change && change.container.id === id && change.container.state === "STARTED") started.resolve();
    });
    const [before, checked] = [roundTrips.count(), checks];
    await lifecycle.wake(id, USER);
    await started.promise;
    counts.push(roundTrips.count() - before);
    unwatch();
    t.ok(checks - checked >= 3, "each of the transactions checks the fence");
  }
  // Statements are prepared in the first ones, and what else reads meanwhile can make it more.
  t.ok(Math.min(...counts) <= ROUND_TRIPS, `round trips: ${counts.join()}`);
});
