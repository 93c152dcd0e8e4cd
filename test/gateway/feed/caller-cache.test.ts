import t from "tap";
import { Fault } from "../../../lib/fault.ts";
import { openCallerCache, LOOKUP_LIMITS } from "../../../gateway/feed/caller-cache.ts";
import type { CallerReply } from "../../../gateway/contract.ts";
import { ADA } from "../../fixtures/directory.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";

const NEVER = new AbortController().signal;
const AWAY = new Fault("CONTROL_AWAY", "away");
/** Longer than an answer counts. */
const OLD_MS = 9_000;

/** Control's answers, one after the other, to every query. */
function callersOf(
  t: { teardown(act: () => unknown): unknown },
  answers: (CallerReply | undefined | Fault | Promise<CallerReply>)[],
  isToken: (token: string) => boolean = () => true,
  joinsLookups = false,
) {
  const lookups: string[] = [];
  const clock = createStillClock();
  let broken = 0;
  const callers = openCallerCache({
    clock,
    closed: NEVER,
    isToken,
    joinsLookups,
    full: () => new Fault("CONTROL_AWAY", "full"),
    findCallers: async (tokens, signal) => {
      lookups.push(tokens.join(" "));
      signal.addEventListener("abort", () => broken++);
      const answer = await answers.shift();
      if (answer instanceof Fault) throw answer;
      return tokens.map(() => answer);
    },
  });
  t.teardown(() => callers.close());
  /** Once what was known before is old. */
  const who = async (token = "token", afterMs = OLD_MS) => {
    await clock.advance(afterMs);
    return callers.find(token, NEVER);
  };
  return { callers, clock, lookups, who, broken: () => broken };
}

t.test("while control is away, who was known is known still", async (t) => {
  const { who, lookups } = callersOf(t, [ADA, AWAY, AWAY]);
  t.equal((await who())?.login, ADA.login);
  t.equal((await who())?.login, ADA.login);
  t.equal(lookups.length, 2);
  t.equal((await who("token", 500))?.login, ADA.login, "and for a while no caller waits for silent control");
  t.equal(lookups.length, 2);
  await t.rejects(who("another", 0), { code: "CONTROL_AWAY" });
});

t.test("who was known does not wait for a control plane that is slow to answer, and its answer counts when it comes", async (t) => {
  const slow = Promise.withResolvers<CallerReply>();
  const { callers, clock, lookups, who } = callersOf(t, [ADA, slow.promise]);
  t.equal((await who())?.login, ADA.login);
  await clock.advance(OLD_MS);
  const answer = callers.find("token", NEVER);
  await clock.advance(100);
  t.equal((await answer)?.login, ADA.login, "the old answer");
  t.equal(lookups.length, 2);
  slow.resolve({ ...ADA, login: "renamed" });
  await slow.promise;
  await new Promise(setImmediate);
  t.equal(callers.cached("token")?.login, "renamed");
});

t.test("a sign-out that comes while control is slow to answer is not passed over", async (t) => {
  const slow = Promise.withResolvers<CallerReply | undefined>();
  const { callers, clock, who } = callersOf(t, [ADA, slow.promise as Promise<CallerReply>]);
  t.equal((await who())?.login, ADA.login);
  await clock.advance(OLD_MS);
  const answer = callers.find("token", NEVER);
  callers.clear();
  await clock.advance(1_000);
  slow.resolve(undefined);
  t.equal(await answer, undefined);
});

t.test("a query is aborted once its last waiting caller has left, and then sent anew", async (t) => {
  const { callers, lookups, broken } = callersOf(t, [new Promise<CallerReply>(() => undefined), ADA]);
  const [first, second] = [new AbortController(), new AbortController()];
  const both = [callers.find("token", first.signal), callers.find("token", second.signal)];
  first.abort();
  await t.rejects(async () => both[0]);
  t.equal(broken(), 0);
  second.abort();
  await t.rejects(async () => both[1]);
  t.equal(broken(), 1);
  t.equal((await callers.find("token", NEVER))?.login, ADA.login);
  t.equal(lookups.length, 2);
});

t.test("invented tokens of one address hold up neither another address nor who was known before", async (t) => {
  const silent = Array.from({ length: LOOKUP_LIMITS.ofOne + 1 }, () => new Promise<CallerReply>(() => undefined));
  const answers = [ADA, ...silent, ADA];
  const { callers, who, lookups } = callersOf(t, answers);
  await who();
  const flood = Array.from({ length: 1_500 }, (_, at) => callers.find(`invented ${at}`, NEVER, "192.0.2.1").catch((error: unknown) => error));
  t.match(await flood.at(-1), { code: "CONTROL_AWAY" }, "only so many of one address wait");
  t.equal(lookups.length, 1 + LOOKUP_LIMITS.ofOne);
  void callers.find("of another address", NEVER, "192.0.2.2").catch(() => undefined);
  await turns();
  t.equal(lookups.at(-1), "of another address");
  t.equal((await who())?.login, ADA.login);
});

t.test("where lookups are joined, callers that return together are in one query, beside a flood", async (t) => {
  const tokens = Array.from({ length: 300 }, (_, index) => `token ${index}`);
  const silent = new Promise<CallerReply>(() => undefined);
  const { callers, clock, lookups, broken } = callersOf(t, [...Array.from({ length: 50 }, () => ADA), silent, ADA, ADA], () => true, true);
  const findAll = async (some: readonly string[]) => (await Promise.all(some.map((token) => callers.find(token, NEVER, "192.0.2.1")))).length;
  t.equal(await findAll(tokens), 300);
  const unknown = Array.from({ length: 50 }, (_, index) => tokens.slice(index * LOOKUP_LIMITS.ofOne, (index + 1) * LOOKUP_LIMITS.ofOne).join(" "));
  t.same(lookups, unknown, "of one address, only so many that are not known yet");
  await clock.advance(OLD_MS);
  const left = new AbortController();
  const invented = Array.from({ length: 20 }, (_, index) => callers.find(`invented ${index}`, left.signal, "192.0.2.1").catch(() => undefined));
  await turns();
  t.equal(lookups.length, 51, "a flood waits for its turns");
  t.equal(await findAll(tokens), 300);
  t.same(
    lookups.slice(51).map((query) => query.split(" token ").length),
    [256, 44],
  );
  t.equal(broken(), 0);
  left.abort();
  await Promise.all(invented);
  t.equal(broken(), 1, "a query is aborted once no caller waits for any of its tokens");
});

t.test("addresses of one IPv6 network have the turns of one", async (t) => {
  const { callers, lookups } = callersOf(
    t,
    Array.from({ length: 100 }, () => new Promise<CallerReply>(() => undefined)),
  );
  for (let at = 0; at < 50; at++) void callers.find(`invented ${at}`, NEVER, `2001:db8::${at}`).catch(() => undefined);
  await turns();
  t.equal(lookups.length, LOOKUP_LIMITS.ofOne);
});

t.test("what is no token by its form is never looked up", async (t) => {
  const { callers, lookups } = callersOf(t, [ADA], (token) => token.length > 3);
  t.equal(await callers.find("abc", NEVER), undefined);
  t.equal((await callers.find("abcd", NEVER))?.login, ADA.login);
  t.same(lookups, ["abcd"]);
});

t.test("a failure of another kind is no excuse", async (t) => {
  const { who } = callersOf(t, [ADA, new Fault("INTERNAL", "broken")]);
  await who();
  await t.rejects(who(), { code: "INTERNAL" });
});

t.test("who was refused, or may have signed out, is not remembered from before", async (t) => {
  const refused = callersOf(t, [ADA, undefined, AWAY, AWAY]);
  await refused.who();
  t.equal(await refused.who(), undefined);
  t.same(await refused.callers.findEnded(["token", "another"]), ["token"], "an open exchange of the other one goes on");
  await t.rejects(refused.who("token", 60_000), { code: "CONTROL_AWAY" });
  const left = callersOf(t, [ADA, AWAY]);
  await left.who();
  left.callers.clear();
  await t.rejects(left.who(), { code: "CONTROL_AWAY" });
});

t.test("an answer that a sign-out overtook is not remembered", async (t) => {
  const late = Promise.withResolvers<CallerReply>();
  const { callers, clock, who } = callersOf(t, [late.promise, AWAY]);
  const first = who();
  await clock.advance(OLD_MS);
  callers.clear();
  late.resolve(ADA);
  t.equal((await first)?.login, ADA.login);
  await t.rejects(who(), { code: "CONTROL_AWAY" });
});

t.test("active callers are looked up again in good time, all in one query, and no call waits for it", async (t) => {
  const { callers, clock, lookups } = callersOf(t, [ADA, ADA, ADA, ADA, undefined]);
  for (const token of ["one", "two", "silent"]) await callers.find(token, NEVER);
  for (let second = 0; second < 7; second++) {
    for (const token of ["one", "two"]) t.ok(callers.cached(token));
    await clock.advance(1_000);
  }
  t.same(lookups, ["one", "two", "silent", "one two"]);
  for (const token of ["one", "two"]) t.ok(callers.cached(token));
  await clock.advance(2_000);
  t.same(lookups.slice(4), ["one two"]);
  t.notOk(callers.cached("silent"), "who is silent is forgotten");
  t.notOk(callers.cached("one"), "and a removed caller is refused");
  t.equal(await callers.find("two", NEVER), undefined);
  t.equal(lookups.length, 5);
});

t.test("no answer counts for longer than ten seconds, however often the token is used", async (t) => {
  const { callers, clock } = callersOf(t, [ADA, ...Array.from({ length: 20 }, () => AWAY)]);
  await callers.find("token", NEVER);
  let seconds = 0;
  for (; callers.cached("token") !== undefined && seconds < 20; seconds++) await clock.advance(1_000);
  t.ok(seconds <= 9, `${seconds} s`);
});

t.test("the travel time of a slow answer counts too", async (t) => {
  const late = Promise.withResolvers<CallerReply>();
  const { callers, clock } = callersOf(t, [late.promise, ...Array.from({ length: 20 }, () => AWAY)]);
  const first = callers.find("token", NEVER);
  await turns();
  await clock.advance(4_900);
  late.resolve(ADA);
  t.ok(await first);
  await clock.advance(4_500);
  t.notOk(callers.cached("token"));
});

t.test("a sign-out that overtakes the answer to many is not overlooked", async (t) => {
  const late = Promise.withResolvers<CallerReply>();
  const { callers, clock, lookups } = callersOf(t, [ADA, late.promise]);
  await callers.find("token", NEVER);
  for (let second = 0; second < 6; second++) {
    callers.cached("token");
    await clock.advance(1_000);
  }
  t.equal(lookups.length, 2);
  callers.clear();
  late.resolve(ADA);
  await clock.advance(10);
  t.notOk(callers.cached("token"));
});

t.test("a caller is found by the bytes of the token, while it counts and no longer", async (t) => {
  const { callers, clock, who } = callersOf(t, [ADA, ADA, undefined]);
  const bytes = Buffer.from("Authorization: Bearer token\r\n");
  const byBytes = () => callers.cachedBytes?.(bytes, 22, 27);
  t.equal(byBytes(), undefined);
  const caller = await who();
  t.equal(byBytes(), caller);
  t.equal(callers.cachedBytes?.(bytes, 22, 26), undefined, "a part of the token is none");
  callers.clear();
  t.equal(byBytes(), undefined);
  await who();
  t.ok(byBytes());
  await clock.advance(OLD_MS);
  t.equal(byBytes(), undefined, "and a token that is not valid any more has no holder");
});

t.test("a token that no header can have has no holder", async (t) => {
  const { who } = callersOf(t, [ADA, { ...ADA, derivedToken: "a\r\nb" }, ADA]);
  t.equal(await who("a\r\nb"), undefined);
  t.equal(await who("a"), undefined);
  t.equal((await who("a b"))?.login, ADA.login);
});
