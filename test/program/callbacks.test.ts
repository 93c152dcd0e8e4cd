import t from "tap";
import { ENGINE_NAMES } from "../../gateway/connections/engine.ts";
import { startBerth } from "../fixtures/berth.ts";
import { openEngine } from "../fixtures/engine.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import { freePort } from "../fixtures/server.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/**
 * Agents' packages: a container uses the address of the API and the key that it gets to reach another container of its package, or itself, through the proxy route. A long
 * poll, an event stream and a session of the Model Context Protocol, by its own client and server, stay open without a byte for longer than the 30 s at which many
 * proxies give up.
 */
const IDLE_MS = 33_000;
const engine = openEngine();
const { mcp } = await buildTestImages(engine.docker, ["mcp"]);

async function openBerth(forwarder: string) {
  const environment = `callbacks-${forwarder}-${process.pid}`;
  const port = await freePort();
  const env = {
    BERTH_DRIVER: "docker",
    BERTH_DOCKER_NETWORK: `berth-${environment}`,
    GROK_SPAWNER_ENVIRONMENT: environment,
    BERTH_FORWARDER: forwarder,
    BERTH_EDGE_HOST: "0.0.0.0",
    BERTH_EDGE_PORT: String(port),
    BERTH_API_URL: `http://host.docker.internal:${port}/api`,
  };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(async () => {
    await berth.stop();
    const left = await engine.docker.listContainers({ all: true, filters: { label: [`berth.environment=${environment}`] } });
    await Promise.all(left.map(({ Id }) => engine.docker.getContainer(Id).remove({ force: true })));
    await engine.docker.getNetwork(env.BERTH_DOCKER_NETWORK).remove();
  });
  return berth;
}

// Side by side, since all of it is waiting.
t.jobs = ENGINE_NAMES.length;
for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: a container calls its own and another container's proxy route back, and idle streams stay open`, async (t) => {
    const berth = await openBerth(forwarder);
    const config = JSON.stringify({ image: mcp, on_demand: true });
    const files = {
      "package.json": JSON.stringify({ name: "agents", version: "1.0.0" }),
      "dockerfiles/runtime/container.json": config,
      "dockerfiles/mcp-server/container.json": config,
    };
    t.equal((await berth.publish("agents", files)).status, 200);
    for (const name of ["agents-runtime", "agents-mcp-server"])
      await eventually(`${name}'s image`, async () => (await berth.container(name)).dockerfile.status === "ready");
    const runtime = await berth.container("agents-runtime");
    const server = await berth.container("agents-mcp-server");
    t.equal(server.status, "stopped by system", "the first call back starts it");

    const act = async (target: string) => {
      const response = await berth.call(`/docker/containers/proxy/${runtime.id}/act?target=${target}&idle=${IDLE_MS}`, { method: "POST" });
      return { status: response.status, ...((await response.json()) as Acted) };
    };
    const acted = await Promise.all([act(server.id), act(runtime.id)]);
    for (const [index, { status, mcp: session, poll, events, methods }] of acted.entries()) {
      const which = index === 0 ? "another container" : "itself";
      t.equal(status, 200, which);
      t.match(session, { tools: ["whoami", "remind"], data: "reminder", hadSession: true, afterEnd: 404 }, "a session, its stream and its end");
      t.match(session.who.content[0]?.text, /"login":\s*"admin"/, "the key is that of the user whose request started it");
      t.ok(session.reminderMs >= IDLE_MS - 100, `the GET stream was idle for ${session.reminderMs} ms`);
      t.match(poll, { text: '{"task":"one"}' });
      t.ok(poll.ms >= IDLE_MS - 100, `the long poll took ${poll.ms} ms`);
      t.equal(events.text, "data: first\n\ndata: last\n\n");
      t.same([...new Set(methods)].toSorted(), ["DELETE", "GET", "POST"]);
    }
  });
}

type Timed = { text: string; ms: number };
type Acted = {
  mcp: { tools: string[]; who: { content: { text?: string }[] }; data: unknown; reminderMs: number; hadSession: boolean; afterEnd: number };
  poll: Timed;
  events: Timed;
  methods: string[];
};
