import { createServer } from "node:net";
import t from "tap";
import { systemClock } from "../../lib/clock.ts";
import { awaitReady } from "../../drivers/ready.ts";
import { PATIENCE_MS } from "../fixtures/eventually.ts";
import { freePort, listen } from "../fixtures/server.ts";

const clock = systemClock();

t.test("ready is reported soon after the port takes connections, and not before", async (t) => {
  const port = await freePort();
  let isReported = false;
  const ready = awaitReady({ host: "127.0.0.1", port }, "accepted", { clock, signal: AbortSignal.timeout(PATIENCE_MS) }).then(
    () => (isReported = true),
  );
  await clock.sleep(120);
  t.equal(isReported, false);
  const opened = clock.monotonic();
  await listen(t, createServer(), { port });
  await ready;
  t.ok(clock.monotonic() - opened < 500);
});

t.test("waiting ends with the signal, with its reason", async (t) => {
  const caller = new AbortController();
  const reason = new Error("enough");
  const port = await freePort();
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
  const { port } = await listen(t, proxy);
  await awaitReady({ host: "127.0.0.1", port }, "held", { clock, signal: AbortSignal.timeout(PATIENCE_MS) });
  t.equal(connects, 7, "four that were cut, three in a row that stayed");
});
