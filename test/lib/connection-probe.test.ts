import dns from "node:dns";
import { createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { acceptsConnection, isPostgresStarting } from "../../lib/connection-probe.ts";
import { PASSWORD_REQUEST, STARTING_UP } from "../fixtures/postgres-messages.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { freePort, listen } from "../fixtures/server.ts";

const clock = systemClock();
const ask = (address: { host: string; port: number }, signal = new AbortController().signal) => isPostgresStarting(address, { clock, signal });
const answering = (t: Test, answer: (socket: Socket) => void) =>
  listen(
    t,
    createServer((socket) => void socket.on("error", () => {}).once("data", () => answer(socket))),
  );

t.test("only the error of a PostgreSQL that starts up means that it starts up", async (t) => {
  for (const [what, answer, expected] of [
    ["starting up", (socket) => socket.end(STARTING_UP), true],
    ["starting up, in pieces", (socket) => void socket.write(STARTING_UP.subarray(0, 9), () => socket.end(STARTING_UP.subarray(9))), true],
    ["a request for a password", (socket) => socket.write(PASSWORD_REQUEST), false],
    ["another error", (socket) => socket.end(Buffer.from(STARTING_UP.toString("latin1").replace("57P03", "28000"), "latin1")), false],
    ["another protocol", (socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"), false],
    ["an endless error", (socket) => socket.write(`E${"x".repeat(10_000)}`), false],
    ["no word", (socket) => socket.end(), false],
  ] as [string, (socket: Socket) => void, boolean][])
    t.equal(await ask(await answering(t, answer)), expected, what);
  t.equal(await ask({ host: "127.0.0.1", port: await freePort() }), false, "nothing listens");
});

t.test("it ends with its signal", async (t) => {
  const silent = await answering(t, () => {});
  const stop = new AbortController();
  const pending = ask(silent, stop.signal);
  stop.abort(new Error("enough"));
  await t.rejects(pending, { message: "enough" });
  await t.rejects(ask(silent, stop.signal), { message: "enough" });
});

t.test("the look-up of a name has a time of its own, and its result is reported", async (t) => {
  const { port } = await listen(t, createServer());
  const { lookup } = dns;
  t.teardown(() => (dns.lookup = lookup));
  const done: (() => void)[] = [];
  dns.lookup = ((name: string, options: dns.LookupOptions, callback: (error: Error | null, found?: unknown, family?: number) => void) => {
    const code = name === "unknown.test" ? "ENOTFOUND" : undefined;
    done.push(() => {
      if (code !== undefined) callback(Object.assign(new Error(code), { code }));
      else if (options.all) callback(null, [{ address: "127.0.0.1", family: 4 }]);
      else callback(null, "127.0.0.1", 4);
    });
  }) as typeof dns.lookup;
  const still = createStillClock();
  const { signal } = new AbortController();
  const lookups: unknown[] = [];
  const onLookup = (...result: unknown[]) => void lookups.push(result);
  const accepts = (host: string) => acceptsConnection({ host, port }, { clock: still, signal, connectMs: 150, onLookup });

  const slow = accepts("slow.test");
  await still.advance(5_000);
  done.shift()?.();
  t.equal(await slow, true);
  const unknown = accepts("unknown.test");
  done.shift()?.();
  t.equal(await unknown, false);
  t.strictSame(lookups, [
    ["slow.test", undefined],
    ["unknown.test", "ENOTFOUND"],
  ]);
});

t.test("a connect to an address that leads nowhere yet is given up after its limit", async (t) => {
  const still = createStillClock();
  // TEST-NET-1, RFC 5737.
  const pending = acceptsConnection({ host: "192.0.2.1", port: 9 }, { clock: still, signal: new AbortController().signal, connectMs: 150 });
  await still.advance(150);
  t.equal(await pending, false);
});
