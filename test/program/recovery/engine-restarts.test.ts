import t from "tap";

import { buildTestImages } from "../../fixtures/images.ts";
import { openOwnEngine } from "./own-engine.ts";
import { openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** The engine itself is stopped and started, and with it all containers: berth goes on, and starts what shall run. */
const engine = await openOwnEngine();
t.teardown(() => engine.close());
const images = await buildTestImages(engine.docker, ["plain", "onDemand"]);
const stand = await openStand(
  t,
  "restarts",
  {
    plain: { image: "plain" },
    ondemand: { image: "onDemand", on_demand: true },
    stopped: { image: "plain" },
    frozen: { image: "onDemand", on_demand: true, shutdown_timeout: 0.02 },
  },
  // Only the engine's own subnet is routed to its network.
  {
    dockerHost: engine.host,
    env: { BERTH_PAUSED_MINUTES: "60", BERTH_DOCKER_SUBNETS: engine.network.subnet },
    engine: { docker: engine.docker, images },
  },
);

t.test("five restarts of the engine in a row count for no container: the always-on one runs, and the others answer at once", async (t) => {
  await stand.run("plain");
  await stand.ask("ondemand", "/");
  for (let restart = 1; restart <= 5; restart++) {
    const [before] = await stand.instances("plain");
    await engine.stop();
    await engine.start();
    await eventually(`another instance that runs, after restart ${restart}`, async () => {
      const [now] = await stand.instances("plain");
      return now !== undefined && now !== before && (await stand.entity("plain")).status === "started" ? true : undefined;
    });
    const response = await stand.ask("ondemand", `/square?number=${restart}`);
    t.same([response.status, await response.json()], [200, { result: restart ** 2 }]);
  }
  const failed = (await stand.history("plain")).filter(({ to }) => to === "error");
  t.same(failed, [], "never in error");
  await stand.berth().call(`/docker/containers/${(await stand.entity("plain")).id}/stop`);
  await stand.until("plain", "stopped by user");
});

t.test("after a restart of the engine, its plain containers run again by themselves, and the others at a request", async (t) => {
  await stand.run("plain");
  await stand.ask("ondemand", "/");
  await stand.ask("frozen", "/");
  await stand.until("frozen", "stopped by system");
  const [asleep = ""] = await stand.instances("frozen");
  t.equal((await engine.docker.getContainer(asleep).inspect()).State.Paused, true);
  const before = await stand.instances("plain");
  await engine.stop();
  t.equal((await stand.entity("plain")).desiredInstances, 1, "the desired state outlives the engine");
  await engine.start();
  await eventually("another instance that runs", async () => {
    const [now] = await stand.instances("plain");
    return now !== undefined && now !== before[0] ? true : undefined;
  });
  t.equal((await stand.until("plain", "started")).desiredInstances, 1);
  t.same(await (await stand.ask("plain", "/square?number=3")).json(), { result: 9 });
  t.same(await (await stand.ask("ondemand", "/square?number=4")).json(), { result: 16 });
  t.equal((await stand.entity("frozen")).status, "stopped by system", "what lay frozen sleeps on");
  t.same(await (await stand.ask("frozen", "/square?number=5")).json(), { result: 25 }, "and is started anew");
  t.notSame(await stand.instances("frozen"), [asleep]);
  for (const folder of ["plain", "ondemand", "frozen"]) t.equal((await stand.instances(folder)).length, 1, folder);
  t.equal((await stand.entity("stopped")).status, "stopped by user");
  t.same(await stand.instances("stopped"), [], "what a user stopped stays stopped");
});
