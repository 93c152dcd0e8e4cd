import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { listContainers } from "../../../drivers/engine/containers.ts";
import { findNetwork } from "../../../drivers/docker/bridge-network.ts";
import { engineCapacity, openEngine } from "../../../drivers/engine/engine.ts";
import { localImage } from "../../../drivers/engine/images.ts";
import { eventually, PATIENCE_MS } from "../../fixtures/eventually.ts";
import { longestTurn } from "../../fixtures/longest-turn.ts";
import { listen } from "../../fixtures/server.ts";

const OPEN = 300;
const CALLS = 20;

t.test("an engine call costs the same processor time however many calls are open", async (t) => {
  const held: ServerResponse[] = [];
  const server = createServer((request, response) => {
    if (request.url?.includes("/wait") === true) held.push(response);
    else response.writeHead(200, { "content-type": "application/json" }).end("[]");
  });
  const { port } = await listen(t, server);
  const engine = openEngine({ host: `tcp://127.0.0.1:${port}` }, systemClock());
  const callsMs = async () => {
    const began = process.cpuUsage();
    for (let i = 0; i < CALLS; i++) await engine.call({ doing: "Listing" }, (docker) => docker.listContainers());
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1_000;
  };
  // The first calls load and compile code.
  await callsMs();
  const alone = await callsMs();
  const waits = Array.from({ length: OPEN }, async (_, i) => engine.docker.getContainer(`c${i}`).wait());
  const ended = Promise.allSettled(waits);
  await eventually("all waits are open", async () => held.length === OPEN, 120_000);
  const among = await callsMs();
  t.ok(among < 10 * alone + 100, `${CALLS} calls took ${Math.round(alone)} ms alone and ${Math.round(among)} ms beside ${OPEN} open ones`);
  for (const response of held) response.writeHead(200, { "content-type": "application/json" }).end("{}");
  await ended;
  engine.close();
});

t.test("a list of containers whose images have many ports and labels does not hold the event loop", async (t) => {
  const exposed = Array.from({ length: 5_000 }, (_, index) => ({ PrivatePort: index + 1, Type: "tcp" }));
  const published = { IP: "127.0.0.1", PrivatePort: 80, PublicPort: 40_000, Type: "tcp" };
  const lineOf = (Id: string) => ({
    Id,
    Names: [`/${Id}`],
    State: "running",
    Labels: { "berth.container": Id, vendor: "x".repeat(100_000) },
    Ports: [...exposed, published],
    NetworkSettings: { Networks: {} },
  });
  const ids = Array.from({ length: 100 }, (_, index) => `c${index}`);
  const body = Buffer.from(JSON.stringify(ids.map(lineOf)));
  const { port } = await listen(
    t,
    createServer((_request, response) => void response.writeHead(200, { "content-type": "application/json" }).end(body)),
  );
  const engine = openEngine({ host: `tcp://127.0.0.1:${port}` }, systemClock());
  const list = () => listContainers(engine, { label: "berth.container", all: true }, undefined);
  // The first call compiles code.
  await list();
  const { result, longestMs } = await longestTurn(list());
  t.same(
    result,
    ids.map((id) => ({ ...lineOf(id), Labels: { "berth.container": id }, Ports: [published] })),
  );
  t.ok(longestMs < 50, `${longestMs} ms`);
  engine.close();
});

t.test("a look-up that the engine does not answer ends with its connection", async (t) => {
  const { port, connections } = await openCountedSilence(t);
  const engine = openEngine({ host: `tcp://127.0.0.1:${port}`, callMs: 50 }, systemClock());
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const calls: Promise<unknown>[] = [
    engineCapacity(engine, signal),
    localImage(engine, "a:1", signal),
    findNetwork(engine, "berth", signal),
    listContainers(engine, { label: "berth.container", all: true }, signal),
  ];
  for (const call of calls) await t.rejects(call, { code: "ENGINE_UNREACHABLE" });
  await eventually("no connection is left", () => connections().total === calls.length && connections().open === 0);
  engine.close();
});

async function openCountedSilence(t: Test) {
  const sockets = new Set<Socket>();
  let total = 0;
  const server = createTcpServer((socket) => {
    total++;
    sockets.add(socket.on("error", () => {}).resume());
    socket.on("close", () => sockets.delete(socket));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections: () => ({ total, open: sockets.size }) };
}
