import { once } from "node:events";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { openLog } from "../../../lib/log.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { serveMetrics } from "../../../lib/metrics/serve-metrics.ts";
import { openStand } from "../../drivers/spawner/server/fixture.ts";

const log = openLog({ level: "silent", name: "test" });

/** A connection that sends nothing, and whether the other end closed it. */
async function openSilent(t: Test, port: number, localAddress: string): Promise<{ socket: Socket; isClosed(): boolean }> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  let closed = false;
  t.teardown(() => socket.destroy());
  socket
    .on("error", () => undefined)
    .on("close", () => (closed = true))
    .resume();
  await once(socket, "connect");
  return { socket, isClosed: () => closed };
}

async function status(port: number, path: string, localAddress: string): Promise<string> {
  const { socket } = await openSilent(t, port, localAddress);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  const [bytes] = (await once(socket, "data")) as [Buffer];
  return bytes.toString("latin1").slice(9, 12);
}

t.test("silent connections of one address do not keep others from the metrics", async (t) => {
  const metrics = openMetrics();
  const served = await serveMetrics(
    { host: "127.0.0.1", port: 0 },
    { gathering: { page: async () => "page" }, refused: metrics.refusedConnections, clock: systemClock(), log },
  );
  t.teardown(served.close);
  const flood = await Promise.all(Array.from({ length: 100 }, () => openSilent(t, served.port, "127.0.0.2")));
  t.equal(await status(served.port, "/metrics", "127.0.0.1"), "200");
  t.ok(flood.filter(({ isClosed }) => isClosed()).length >= 100 - 32);
  const [refused] = (await metrics.snapshot()).filter(({ name }) => name === "berth_client_connections_refused_total");
  t.match(refused?.values, [{ value: 68, labels: { why: "address" } }]);
});

t.test("silent connections of one address do not keep others from the spawner", async (t) => {
  const stand = await openStand(t, { limits: { connections: 40, connectionsPerAddress: 20 } });
  const flood = await Promise.all(Array.from({ length: 100 }, () => openSilent(t, stand.port, "127.0.0.2")));
  t.equal((await stand.ask("GET", "/services")).status, 200);
  t.ok(flood.filter(({ isClosed }) => isClosed()).length >= 80);
});
