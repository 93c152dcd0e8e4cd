import { once } from "node:events";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import { ENGINE_NAMES } from "../../gateway/connections/engine.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import { exchange, get, ID, openContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const KEPT = get(PATH).replace("Connection: close\r\n", "");

function open(t: Test, port: number, localAddress: string): Socket {
  const socket = connect({ port, host: "127.0.0.1", localAddress }).on("error", () => undefined);
  t.teardown(() => socket.destroy());
  return socket.resume();
}

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: connections of one address leave places for others, and closed ones for new ones`, async (t) => {
    const metrics = openMetrics();
    const stand = await openStand(t, { forwarder, metrics, limits: { connectionsPerAddress: 20 } });
    const { address } = await openContainer(t, (_, response) => void response.end("here"));
    stand.set(ID, { kind: "awake", address });
    const flood = Array.from({ length: 50 }, () => open(t, stand.port, "127.0.0.2"));
    await eventually("30 are refused", () => metrics.refusedConnections.at("address").value === 30);
    await eventually("and closed", () => flood.filter(({ closed }) => closed).length === 30);
    t.match(await exchange(stand.port, get(PATH)), /here$/);
    for (const socket of flood) socket.destroy();
    // Closed connections are noticed a moment later.
    for (let times = 0; times < 20; times++) {
      const socket = open(t, stand.port, "127.0.0.2");
      socket.write(KEPT);
      await Promise.race([once(socket, "data"), once(socket, "close")]);
      if (!socket.destroyed) return;
    }
    t.fail("their places were not given back");
  });
}

t.test("connections without a request are closed near the bound", async (t) => {
  const stand = await openStand(t, { forwarder: "splice", limits: { connectionsPerAddress: 10 } });
  const { address } = await openContainer(t, (_, response) => void response.end("here"));
  stand.set(ID, { kind: "awake", address });
  const idle = Array.from({ length: 10 }, () => open(t, stand.port, "127.0.0.1"));
  for (const socket of idle.slice(0, 8)) {
    socket.write(KEPT);
    await once(socket, "data");
  }
  await eventually("idle ones are closed", () => idle.filter(({ closed }) => closed).length >= 2);
  const answer = await exchange(stand.port, KEPT, /here/);
  t.match(answer, /^HTTP\/1\.1 200 /);
});
