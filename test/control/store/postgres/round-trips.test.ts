import { request } from "node:http";
import { Client } from "pg";
import t from "tap";
import { openFeed } from "../../../../control/api/feed.ts";
import { openLifecycle } from "../../../../control/lifecycle/open-lifecycle.ts";
import type { Fence } from "../../../../control/store/database.ts";
import { openStore } from "../../../../control/store/open-store.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { openLog } from "../../../../lib/log.ts";
import { fill, USER } from "../../../bench/control/fill.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { openMemoryWorld } from "../../../fixtures/memory-driver.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";
import { isStatementBatch } from "../../../fixtures/store-kinds.ts";
import { startEnvironment } from "../../../fixtures/start-environment.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

const STARTS = 12;

/** Two for the request, two for the begin of the start with the container's token, and two for its end. */
const ROUND_TRIPS = 6;
/** The request, and the begin of the start. Its end follows from what runs. */
const DURABLE_COMMITS = 2;
const COMMITS = 3;

/** Counts how often something is sent while no other waits for its result; and commits, of which those that are deferred do not wait for the disk. */
function countStatements() {
  const counts = { roundTrips: 0, commits: 0, durable: 0 };
  let waiting = 0;
  const original = Client.prototype.query as (...args: unknown[]) => unknown;
  const counted = function (this: unknown, ...args: unknown[]): unknown {
    const [batch] = args;
    if (!isStatementBatch(batch)) throw new Error("a statement that is not in a batch");
    if (waiting++ === 0) counts.roundTrips++;
    for (const { sql } of batch.statements) {
      if (sql === "COMMIT") {
        counts.commits++;
        counts.durable++;
      }
      if (sql === "SET LOCAL synchronous_commit TO off") counts.durable--;
    }
    void Promise.allSettled(batch.statements.map(({ done }) => done.promise)).then(() => waiting--);
    return original.apply(this, args);
  };
  Client.prototype.query = counted as Client["query"];
  return { counts: () => ({ ...counts }), isIdle: () => waiting === 0 };
}

t.test("a start waits six times for the database, and twice for its disk, with the leader's fence", async (t) => {
  const server = await startPostgres(t);
  const postgres = await server.database();
  const folder = tempFolder(t);
  const clock = systemClock();
  const log = openLog({ level: "silent", name: "test" });
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
  const own = "session-of-the-user";
  await store.sessions.insert({
    digest: own,
    userId: USER,
    expiresOn: Number.MAX_SAFE_INTEGER,
    keyDigest: undefined,
    parent: undefined,
    derivedDigest: undefined,
    containerId: undefined,
    start: undefined,
  });
  const world = openMemoryWorld(clock, { sockets: false });
  for (const { ref } of await store.images.all()) world.apps.set(ref, { exposed: [80], run: ({ listen }) => listen() });
  const environment = await startEnvironment({ store, folder, clock, log });
  const lifecycle = await openLifecycle({ store, driver: world.open(), clock, log, environment: "test", ...environment, filesFolder: folder });
  t.teardown(() => lifecycle.close());
  const unused = { watchSignOuts: () => () => undefined, who: async () => undefined, version: "test" };
  const feed = await openFeed({ socketPath: `${folder}/feed.sock`, lifecycle, store, ...unused, clock, log });
  t.teardown(() => feed.close());
  await lifecycle.start();
  const statements = countStatements();
  const counted: { roundTrips: number; commits: number; durable: number }[] = [];
  for (const id of ids) {
    await eventually("nothing is under way", () => statements.isIdle() && lifecycle.depth().running + lifecycle.depth().waiting === 0);
    const started = Promise.withResolvers<void>();
    const unwatch = lifecycle.watch((change) => {
      if ("container" in change && change.container.id === id && change.container.state === "STARTED") started.resolve();
    });
    const [before, checked] = [statements.counts(), checks];
    await requestWake(`${folder}/feed.sock`, { id, userId: USER, ref: { own } });
    await started.promise;
    const after = statements.counts();
    counted.push({
      roundTrips: after.roundTrips - before.roundTrips,
      commits: after.commits - before.commits,
      durable: after.durable - before.durable,
    });
    unwatch();
    t.ok(checks - checked >= COMMITS, "each of the transactions checks the fence");
  }
  // Statements are prepared in the first ones, and what else reads or writes meanwhile can make it more.
  const least = (of: keyof (typeof counted)[0]) => Math.min(...counted.map((one) => one[of]));
  t.ok(least("roundTrips") <= ROUND_TRIPS, `round trips: ${counted.map(({ roundTrips }) => roundTrips).join()}`);
  t.equal(least("commits"), COMMITS);
  t.equal(least("durable"), DURABLE_COMMITS);
  t.equal((await store.sessions.ofContainers()).length, STARTS, "each container has its token");
});

/** As a gateway does. */
async function requestWake(socketPath: string, body: object): Promise<void> {
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const sent = request({ socketPath, path: "/wake", method: "POST" }, (response) => {
      response.resume().once("end", () => resolve(response.statusCode));
    });
    sent.once("error", reject).end(JSON.stringify(body));
  });
  if (status !== 204) throw new Error(`the feed answered ${status}`);
}
