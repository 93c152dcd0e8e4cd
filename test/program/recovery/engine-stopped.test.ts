import t from "tap";

import { buildTestImages } from "../../fixtures/images.ts";
import { openOwnEngine } from "./own-engine.ts";
import { openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** The engine's process stands still: it accepts connections and answers nothing, for longer than one call may take. */
const CALL_SECONDS = 2;
const engine = await openOwnEngine();
t.teardown(() => engine.close());
const images = await buildTestImages(engine.docker, ["onDemand"]);
const stand = await openStand(
  t,
  "standstill",
  { first: { image: "onDemand", on_demand: true }, second: { image: "onDemand", on_demand: true } },
  {
    dockerHost: engine.host,
    env: { BERTH_DOCKER_CALL_SECONDS: `${CALL_SECONDS}`, BERTH_DOCKER_SUBNETS: engine.network.subnet },
    dockerSettings: { proxyRequestTimeout: 120_000 },
    engine: { docker: engine.docker, images },
  },
);

t.test("a request that wakes a container while the engine stands still is answered once the engine goes on", async (t) => {
  engine.pause();
  const responses = [stand.ask("first", "/square?number=3"), stand.ask("second", "/square?number=4")];
  for (const folder of ["first", "second"]) {
    const { id } = await stand.entity(folder);
    await eventually(`the start of ${folder} to have met the engine's silence`, async () => {
      const { why } = (await (await stand.berth().call(`/docker/containers/${id}/explain`)).json()) as { why: string };
      return why.includes(`did not answer within ${CALL_SECONDS} s`) ? true : undefined;
    });
    t.equal((await stand.entity(folder)).status, "starting");
  }
  engine.resume();
  for (const [index, response] of (await Promise.all(responses)).entries()) {
    t.same([response.status, await response.json()], [200, { result: (index + 3) ** 2 }]);
  }
  for (const folder of ["first", "second"]) {
    t.equal((await stand.instances(folder)).length, 1, "one instance each");
    const events = (await stand.history(folder)).map(({ event }) => event);
    t.notOk(events.includes("startFailed"), "no start failed");
  }
});
