import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { awaitReady } from "../../drivers/ready.ts";
import { PATIENCE_MS } from "../fixtures/eventually.ts";

const clock = systemClock();

async function listening(t: Test, server: Server, port = 0): Promise<number> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function closedPort(t: Test): Promise<number> {
  const server = createServer();
  const port = await listening(t, server);
  server.close();
  await once(server, "close");
  return port;
}

t.test("ready is reported soon after the port takes connections, and not before", async (t) => {
  const port = await closedPort(t);
  let isReported = false;
  const ready = awaitReady({ host: "127.0.0.1", port }, "accepted", { clock, signal: AbortSignal.timeout(PATIENCE_MS) }).then(
    () => (isReported = true),
  );
  await clock.sleep(120);
  t.equal(isReported, false);
  const opened = clock.monotonic();
  await listening(t, createServer(), port);
  await ready;
  t.ok(clock.monotonic() - opened < 500);
});

t.test("waiting ends with the signal, with its reason", async (t) => {
  const caller = new AbortController();
  const reason = new Error("enough");
  const port = await closedPort(t);
  const ready = awaitReady({ host: "127.0.0.1", port }, "accepted", { clock, signal: caller.signal });
  caller.abort(reason);
  t.equal(await ready.catch((error: unknown) => error), reason);
});

t.test("something that accepts by itself and hangs up is no proof, until it stays", async (t) => {
  let connects = 0;
  // As a port proxy does whose container refuses, until the fifth connect.
  const proxy = createServer((socket) => {
    socket.on("error", () => {});
    if (++connects < 5) socket.destroy();
  });
  const port = await listening(t, proxy);
  await awaitReady({ host: "127.0.0.1", port }, "held", { clock, signal: AbortSignal.timeout(PATIENCE_MS) });
  t.equal(connects, 7, "four that were cut, three in a row that stayed");
});
