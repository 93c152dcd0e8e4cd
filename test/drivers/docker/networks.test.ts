import { createServer } from "node:http";
import type { ContainerInfo } from "dockerode";
import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { PACKAGE_LABEL } from "../../../drivers/docker/bridge-network.ts";
import { NETWORK_LABEL } from "../../../drivers/engine/reach.ts";
import { openNetworks } from "../../../drivers/docker/networks.ts";
import type { Spec } from "../../../drivers/driver.ts";
import { openEngine, type Engine } from "../../../drivers/engine/engine.ts";
import { ownContainer } from "../../../drivers/engine/reach.ts";
import { openLog } from "../../../lib/log.ts";
import { listen } from "../../fixtures/server.ts";

const ID = "a".repeat(64);
const SPEC = {
  service: "berth-app-square",
  package: "app",
  labels: { store: "s", environment: "e", container: "c", generation: 1 },
} as unknown as Spec;

/** An engine with the network of one package; `inUse`: a container came on it. */
async function openDouble(t: { teardown(end: () => void): void }) {
  const members = new Set<string>();
  const state = { name: "", inUse: false };
  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const answer = (status: number, body: object = {}) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    const network = () => ({
      Id: ID,
      Name: state.name,
      Labels: { [NETWORK_LABEL]: "berth", [PACKAGE_LABEL]: "app" },
      Containers: Object.fromEntries([...members].map((one) => [one, { Name: one }])),
    });
    if (path.endsWith("/networks")) return answer(200, [network()]);
    if (path.endsWith("/connect")) members.add(ownContainer());
    if (path.endsWith("/disconnect")) members.clear();
    if (request.method === "POST") return answer(200);
    if (request.method === "DELETE") return state.inUse ? answer(403, { message: "network has active endpoints" }) : answer(204);
    const name = path.split("/").at(-1);
    if (name === "berth") return answer(404, { message: "no such network" });
    state.name ||= name ?? "";
    return answer(200, network());
  });
  const { port } = await listen(t, server);
  const engine: Engine = openEngine({ host: `tcp://127.0.0.1:${port}` }, systemClock());
  t.teardown(() => engine.close());
  const networks = openNetworks({
    engine,
    network: "berth",
    reach: "name",
    pools: [],
    restMs: 60_000,
    sharedServices: [],
    emptyMs: 0,
    log: openLog({ level: "silent", name: "test" }),
  });
  return { members, state, networks };
}

t.test("a package's network that turns out to be in use as it is removed is joined again by the next start", async (t) => {
  const { members, state, networks } = await openDouble(t);
  const { signal } = new AbortController();
  const started = async () => (await networks.placeFor(SPEC, signal)).joined;
  await started();
  t.strictSame([...members], [ownContainer()]);
  state.inUse = true;
  await networks.maintain([] as ContainerInfo[], signal);
  t.strictSame([...members], [], "it had left");
  await started();
  t.strictSame([...members], [ownContainer()]);
});
