import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { swarmDriver } from "../../../drivers/swarm/driver.ts";
import { openLog } from "../../../lib/log.ts";
import { runIn } from "../../fixtures/engine.ts";
import { buildTestImages } from "../../fixtures/images.ts";
import { call, namer, specOf } from "../conformance.ts";
import { openOwnSwarm } from "./own-swarm.ts";

t.setTimeout(240_000);
const { docker, host } = await openOwnSwarm(t);
const images = await buildTestImages(docker, ["onDemand"]);
const name = namer("machine");
const log = openLog({ level: "silent", name: "test" });

t.test("a service reaches what listens on its node's machine as host.docker.internal", async (t) => {
  const driver = swarmDriver({ host, network: "berth-machine", nodeRole: "cvm", reach: "auto", clock: systemClock(), log });
  // On every address of the engine's machine.
  const PortBindings = { "15353/tcp": [{ HostIp: "", HostPort: "18080" }] };
  const api = await docker.createContainer({ Image: images.onDemand, ExposedPorts: { "15353/tcp": {} }, HostConfig: { PortBindings } });
  t.teardown(() => api.remove({ force: true }));
  await api.start();
  const service = name("one");
  await driver.deploy(await specOf(driver, service, { ref: images.onDemand }), call());
  const [container] = await docker.listContainers({ filters: { label: [`com.docker.swarm.service.name=${service}`] } });
  const script = 'fetch("http://host.docker.internal:18080/square?number=3").then((r) => r.text()).then(console.log, console.log)';
  t.match(await runIn(docker, container?.Id ?? "", ["node", "-e", script]), '{"result":9}');
  await driver.destroy(service, call());
});
