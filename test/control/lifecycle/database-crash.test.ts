import t from "tap";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { fill, USER } from "../../bench/control/fill.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openMemoryWorld } from "../../fixtures/memory-driver.ts";
import { startPostgres, WRITES_LATE } from "../../fixtures/postgres.ts";
import { startEnvironment } from "../../fixtures/start-environment.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

t.test("a start whose end the database loses in a crash is neither repeated nor forgotten", async (t) => {
  const server = await startPostgres(t, WRITES_LATE);
  const postgres = await server.database();
  const folder = tempFolder(t);
  const clock = systemClock();
  const log = openLog({ level: "silent", name: "test" });
  const ids = await fill(folder, 3, { postgres });
  const store = await openStore({ folder, clock, postgres });
  t.teardown(() => store.close());
  const world = openMemoryWorld(clock, { sockets: false });
  t.teardown(() => world.close());
  const runs: string[] = [];
  const tokens = new Map<string, string>();
  for (const { ref } of await store.images.all())
    world.apps.set(ref, {
      exposed: [80],
      run: ({ env, listen }) => {
        runs.push(ref);
        tokens.set(ref, env["USER_API_KEY"] ?? "");
        listen();
      },
    });
  const environment = await startEnvironment({ store, folder, clock, log });
  const lifecycle = await openLifecycle({
    store,
    driver: world.open(),
    clock,
    log,
    environment: "test",
    ...environment,
    filesFolder: folder,
    // What repairs the loss is the connection that broke, not this timer.
    limits: { sweepMs: 3_600_000 },
  });
  t.teardown(() => lifecycle.close());
  await lifecycle.start();
  await eventually("the first sweep is over", () => lifecycle.depth().running + lifecycle.depth().waiting === 0);

  for (const [crashes, id] of ids.entries()) {
    const started = Promise.withResolvers<void>();
    const unwatch = lifecycle.watch((change) => {
      if ("container" in change && change.container.id === id && change.container.state === "STARTED") started.resolve();
    });
    await lifecycle.wake(id, USER);
    // As soon as gateways learn that it runs.
    await started.promise;
    unwatch();
    const { service = "", imageId = "" } = (await store.containers.find(id)) ?? {};
    const { ref = "" } = (await store.images.find(imageId)) ?? {};
    await server.stop("SIGKILL");
    await server.start();
    await eventually("its start ends again", async () => {
      const row = await store.containers.find(id);
      return row?.state === "STARTED" && world.callCount(`deploy ${service}`) === 2;
    });
    t.equal(world.callCount(`deploy ${service}`), 2, "the crash undid the end of its start, and the deploy was repeated");
    t.equal(runs.filter((one) => one === ref).length, 1, "it was found running");
    t.equal(world.running().length, crashes + 1);
    t.same(
      (await store.sessions.byContainer(id)).map(({ digest }) => digest),
      [tokenDigest(tokens.get(ref) ?? "")],
      "its token still counts",
    );
    t.match(await store.wakes.of(id), [{ outcome: "answered" }], "its start is recorded once");
  }
  const [first = ""] = ids;
  await lifecycle.requestStop(first, USER);
  await eventually("it stops", async () => (await store.containers.find(first))?.state === "USER_STOPPED");
  t.equal(world.running().length, ids.length - 1);
});
