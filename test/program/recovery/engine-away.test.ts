import t from "tap";

import { openEngineProxy } from "./engine-proxy.ts";
import { engineHost, openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** The engine goes away and comes back, as when it is restarted, which ends all containers. */
const proxy = await openEngineProxy(engineHost);
const stand = await openStand(
  t,
  "away",
  { plain: { image: "plain" }, ondemand: { image: "onDemand", on_demand: true }, stopped: { image: "plain" } },
  { dockerHost: proxy.host },
);
t.teardown(() => proxy.close());

const kill = async (folder: string) => {
  const [instance = ""] = await stand.instances(folder);
  await stand.docker.getContainer(instance).kill();
  return instance;
};

t.test("while the engine is away, what runs is served and no state changes", async (t) => {
  await stand.run("plain");
  await stand.ask("ondemand", "/");
  await proxy.cut();
  t.equal((await stand.ask("plain", "/")).status, 200);
  t.equal((await stand.ask("ondemand", "/")).status, 200);
  t.equal((await stand.entity("plain")).status, "started");
});

t.test("back after a restart, it is given its plain containers again; the others wait for a request, or stay stopped", async (t) => {
  const before = await Promise.all([kill("plain"), kill("ondemand")]);
  const pending = stand.ask("ondemand", "/square?number=4");
  await proxy.mend();
  await stand.until("plain", "started");
  await eventually("another instance", async () => ((await stand.instances("plain"))[0] === before[0] ? undefined : true));
  await stand.until("plain", "started");
  t.same(await (await stand.ask("plain", "/square?number=3")).json(), { result: 9 });
  t.ok([200, 502].includes((await pending).status), "a request meanwhile gets an error, or the answer");
  t.same(await (await stand.ask("ondemand", "/square?number=5")).json(), { result: 25 });
  for (const folder of ["plain", "ondemand"]) t.equal((await stand.instances(folder)).length, 1, folder);
  t.equal((await stand.entity("stopped")).status, "stopped by user");
  t.same(await stand.instances("stopped"), []);
});

t.test("a start that meets no engine is made once there is one", async (t) => {
  await proxy.cut();
  const { id } = await stand.entity("stopped");
  await stand.berth().call(`/docker/containers/${id}/run`);
  const failed = await stand.until("stopped", "error");
  t.equal(failed.desiredInstances, 1);
  t.match((await stand.history("stopped")).at(-1), { event: "startFailed", cause: { code: "ENGINE_UNREACHABLE" } });
  await proxy.mend();
  await stand.until("stopped", "started");
});

t.test("a death during a gap in the events is noticed when they arrive again", async (t) => {
  proxy.cutEvents();
  await kill("ondemand");
  proxy.mendEvents();
  await stand.until("ondemand", "stopped by system");
  t.match((await stand.history("ondemand")).at(-1), { event: "lostAsleep", cause: { code: "CONTAINER_CRASHED" } });
});
