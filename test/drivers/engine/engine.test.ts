import { createServer, type ServerResponse } from "node:http";
import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openEngine } from "../../../drivers/engine/engine.ts";
import { eventually } from "../../fixtures/eventually.ts";
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
