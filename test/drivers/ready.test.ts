import dns from "node:dns";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import t from "tap";
import { systemClock } from "../../lib/clock.ts";
import { awaitPort, awaitReady, awaitResponse, healthAddress } from "../../drivers/ready.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually, PATIENCE_MS } from "../fixtures/eventually.ts";
import { freePort, listen } from "../fixtures/server.ts";

const clock = systemClock();

t.test("ready is reported soon after the port takes connections, and not before", async (t) => {
  const port = await freePort();
  let isReported = false;
  const ready = awaitPort({ host: "127.0.0.1", port }, "accepted", { clock, signal: AbortSignal.timeout(PATIENCE_MS) }).then(
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
  const ready = awaitPort({ host: "127.0.0.1", port }, "accepted", { clock, signal: caller.signal });
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
  await awaitPort({ host: "127.0.0.1", port }, "held", { clock, signal: AbortSignal.timeout(PATIENCE_MS) });
  t.equal(connects, 7, "four that were cut, three in a row that stayed");
});

t.test("an HTTP response of 2xx or 3xx is ready, and neither another one nor an open port", async (t) => {
  const requests: { url: string | undefined; host: string | undefined }[] = [];
  const replies = [503, 404, 302];
  const server = createHttpServer((request, response) => {
    requests.push({ url: request.url, host: request.headers.host });
    response.writeHead(replies[requests.length - 1] ?? 200, { location: "/elsewhere" }).end("x".repeat(100_000));
  });
  const { port } = await listen(t, server);
  const spec = { readiness: { kind: "http" as const, path: "/health?deep=1", intervalMs: 60_000, timeoutMs: 5_000 }, port: 8000, graceMs: 0 };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  await awaitReady(spec, { address: { host: "127.0.0.1", port }, proof: "held" }, { clock, signal });
  t.strictSame(
    requests,
    Array.from({ length: 3 }, () => ({ url: "/health?deep=1", host: "localhost:8000" })),
    "the redirect is not followed",
  );
});

t.test("an app that answers the first requests never gets another every second", async (t) => {
  let requests = 0;
  const server = createHttpServer((_, response) => void (++requests > 2 && response.end()));
  const { port } = await listen(t, server);
  const began = clock.monotonic();
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const readiness = { path: "/", timeoutMs: PATIENCE_MS };
  await awaitResponse({ host: "127.0.0.1", port }, readiness, { clock, signal });
  t.equal(requests, 3);
  t.ok(clock.monotonic() - began < PATIENCE_MS / 2, "long before the time limit of the first one");
});

t.test("requests without a response are few, and end with the signal", async (t) => {
  let open = 0;
  let most = 0;
  const server = createHttpServer((request) => {
    most = Math.max(most, ++open);
    request.socket.once("close", () => open--);
  });
  const { port } = await listen(t, server);
  const caller = new AbortController();
  const reason = new Error("enough");
  const ready = awaitResponse({ host: "127.0.0.1", port }, { path: "/", timeoutMs: 1_500 }, { clock, signal: caller.signal });
  ready.catch(() => {});
  await eventually("one was given up, and another sent", () => most === 2);
  caller.abort(reason);
  t.equal(await ready.catch((error: unknown) => error), reason);
  await eventually("no request is left", () => open === 0);
});

t.test("a health port of its own receives the requests, and the container's port must be open too", async (t) => {
  const health = await listen(
    t,
    createHttpServer((_, response) => void response.end()),
  );
  const port = await freePort();
  const spec = { readiness: { kind: "http" as const, path: "/", port: health.port, intervalMs: 1, timeoutMs: 1_000 }, port, graceMs: 0 };
  const target = { address: { host: "127.0.0.1", port }, health: healthAddress(spec, "127.0.0.1"), proof: "accepted" as const };
  let isReported = false;
  const ready = awaitReady(spec, target, { clock, signal: AbortSignal.timeout(PATIENCE_MS) }).then(() => (isReported = true));
  await clock.sleep(120);
  t.equal(isReported, false);
  await listen(t, createServer(), { port });
  await ready;
});

t.test("an HTTP request to an address that leads nowhere yet is soon sent again, and each look-up of the name is reported", async (t) => {
  const { lookup } = dns;
  t.teardown(() => (dns.lookup = lookup));
  dns.lookup = ((name: string, options: dns.LookupOptions, callback: (error: Error | null, found?: unknown, family?: number) => void) => {
    // TEST-NET-1, RFC 5737.
    const [address, family] = ["192.0.2.1", 4];
    setImmediate(() => {
      if (name === "unknown.test") callback(Object.assign(new Error("unknown"), { code: "ENOTFOUND" }));
      else if (options.all) callback(null, [{ address, family }]);
      else callback(null, address, family);
    });
  }) as typeof dns.lookup;
  const still = createStillClock();
  const caller = new AbortController();
  const lookups: unknown[] = [];
  const onLookup = (...result: unknown[]) => void lookups.push(result);
  const waiting = ["slow.test", "unknown.test"].map((host) =>
    awaitResponse({ host, port: 9 }, { path: "/", timeoutMs: 60_000 }, { clock: still, signal: caller.signal, onLookup }).catch(() => {}),
  );
  const countOf = (host: string) => lookups.filter((result) => (result as unknown[])[0] === host).length;
  await eventually("both names were looked up", () => countOf("slow.test") === 1 && countOf("unknown.test") === 1);
  t.strictSame(lookups, [
    ["slow.test", undefined],
    ["unknown.test", "ENOTFOUND"],
  ]);
  await eventually("a connect is given up after 150 ms, and another follows", async () => {
    await still.advance(25);
    return countOf("slow.test") === 2;
  });
  t.ok(still.monotonic() < 1_000, `after ${still.monotonic()} ms`);
  caller.abort();
  await Promise.all(waiting);
});
