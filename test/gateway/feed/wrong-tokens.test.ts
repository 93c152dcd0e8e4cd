import { connect } from "node:net";
import t from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { openCallerCache } from "../../../gateway/feed/caller-cache.ts";
import { createWrongTokens, WRONG_TOKENS } from "../../../gateway/feed/wrong-tokens.ts";
import { ADA } from "../../fixtures/directory.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { exchange, get, ID, openContainer, openStand, PATH } from "../stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const NEVER = new AbortController().signal;

/** `tokens`: who holds which now. */
function openCallers(t: { teardown(act: () => unknown): unknown }, tokens: Set<string>, clock = createStillClock()) {
  const lookUps: string[] = [];
  const callers = openCallerCache({
    clock,
    closed: NEVER,
    full: () => new Fault("CONTROL_AWAY", "full"),
    findCallers: (some) => {
      lookUps.push(...some);
      return Promise.resolve(some.map((token) => (tokens.has(token) ? ADA : undefined)));
    },
  });
  t.teardown(() => callers.close());
  return { callers, lookUps, clock };
}

t.test("a wrong token is looked up once in half a minute, and a token made meanwhile works at once", async (t) => {
  const tokens = new Set<string>();
  const { callers, lookUps, clock } = openCallers(t, tokens);
  for (let second = 0; second < 29; second++) {
    t.equal(await callers.find("wrong", NEVER, "192.0.2.1"), undefined);
    await clock.advance(1_000);
  }
  t.same(lookUps, ["wrong"]);
  tokens.add("new");
  t.equal((await callers.find("new", NEVER, "192.0.2.1"))?.login, ADA.login);
  await clock.advance(2_000);
  await callers.find("wrong", NEVER, "192.0.2.1");
  t.same(lookUps, ["wrong", "new", "wrong"]);
});

t.test("wrong tokens of one address are looked up at a bounded rate", async (t) => {
  const { callers, lookUps, clock } = openCallers(t, new Set(["fresh", "old"]));
  const { burst, everyMs } = WRONG_TOKENS;
  t.ok(await callers.find("old", NEVER, "192.0.2.1"));
  const flood = async (count: number, from: string) => {
    const results = await Promise.all(
      Array.from({ length: count }, (_, at) => callers.find(`${from}-${at}`, NEVER, "192.0.2.1").catch((error: unknown) => error)),
    );
    return results.filter((result) => result instanceof Fault);
  };
  t.same(await flood(burst - 10, "a"), [], "a burst of normal use passes");
  const refused = await flood(1_000, "b");
  t.ok(lookUps.length <= 1 + burst + 6, `${lookUps.length} questions`);
  t.match(refused[0], { code: "TOO_MANY_ATTEMPTS", status: 429 });
  t.ok(((refused[0] as Fault).retryAfterMs ?? 0) > 0);
  t.ok(await callers.find("fresh", NEVER, "192.0.2.2"), "another address is not concerned");
  callers.clear();
  t.ok(await callers.find("old", NEVER, "192.0.2.1"), "who was valid behind the same address is not either, also after a sign-out");
  const before = lookUps.length;
  await clock.advance(10_000);
  await flood(1_000, "c");
  t.ok(lookUps.length - before <= 10_000 / everyMs + 7, `${lookUps.length - before} more in 10 s`);
  await clock.advance(burst * everyMs + 1_000);
  t.same(await flood(burst - 10, "d"), [], "and all is forgotten");
});

t.test("what is remembered of clients with wrong tokens is bounded", async (t) => {
  const clock = createStillClock();
  const wrong = createWrongTokens({ ...WRONG_TOKENS, burst: 1 }, clock);
  for (let client = 0; client < 10_001; client++) for (let times = 0; times < 2; times++) wrong.charge(`client ${client}`);
  t.doesNotThrow(() => wrong.check("key", "client 0"), "forgotten for a later one");
  t.throws(() => wrong.check("key", "client 1"), { code: "TOO_MANY_ATTEMPTS" });
  for (const client of ["client 1", "a new client"]) wrong.charge(client);
  t.throws(() => wrong.check("key", "client 1"), { code: "TOO_MANY_ATTEMPTS" }, "the one that is quiet for longest is forgotten");
  t.doesNotThrow(() => wrong.check("key", "client 2"));
  wrong.accepted("old");
  t.doesNotThrow(() => wrong.check("old", "client 1"));
  wrong.rejected("old");
  t.throws(() => wrong.check("old", "client 1"), { code: "TOO_MANY_ATTEMPTS" }, "a session that has ended is as good as none");
});

t.test("a flood of wrong tokens from one address costs control little, and a fresh session of another is answered", async (t) => {
  const { callers: identity, lookUps } = openCallers(t, new Set(["token"]), systemClock() as never);
  const stand = await openStand(t, { identity });
  const { address } = await openContainer(t, (_, response) => void response.end("here"));
  stand.set(ID, { kind: "awake", address });
  let sent = 0;
  let refused = 0;
  const request = () => `GET ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: invented-${sent++}\r\n\r\n`;
  const since = performance.now();
  const flood = Array.from({ length: 50 }, () => {
    const socket = connect({ port: stand.port, host: "127.0.0.1", localAddress: "127.0.0.2" }, () => socket.write(request()));
    socket.on("data", (bytes: Buffer) => {
      const text = bytes.toString("latin1");
      if (text.startsWith("HTTP/1.1 429 ") && /\r\nretry-after: [1-9]/i.test(text)) refused++;
      socket.write(request());
    });
    socket.on("error", () => undefined);
    return socket;
  });
  t.teardown(() => flood.forEach((socket) => socket.destroy()));
  await eventually("most of the flood is refused", () => refused > 2_000);
  const started = performance.now();
  t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 200 /);
  t.ok(performance.now() - started < 1_000, `${Math.round(performance.now() - started)} ms`);
  const bound = WRONG_TOKENS.burst + (performance.now() - since) / WRONG_TOKENS.everyMs + 8;
  t.ok(lookUps.length <= bound, `${lookUps.length} questions of ${sent} wrong tokens, ${Math.round(bound)} allowed`);
});
