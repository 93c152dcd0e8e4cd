import t from "tap";
import { swarmDriver } from "../../../drivers/swarm/driver.ts";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { checkLateStart } from "../late-starts.ts";
import { openOwnSwarm } from "./own-swarm.ts";

t.test("a service that a deposed leader's call starts late on a real swarm is recognized by its epoch, and removed", async (t) => {
  const { docker, host } = await openOwnSwarm(t);
  const images = await buildTestImages(docker, ["onDemand"]);
  const log = openLog({ level: "silent", name: "test" });
  const open = () => swarmDriver({ host, network: "berth-late", nodeRole: "cvm", reach: "auto", clock: systemClock(), log, unplacedMs: 1_000 });
  await checkLateStart(t, { open, ref: images.onDemand, environment: "late" });
});
