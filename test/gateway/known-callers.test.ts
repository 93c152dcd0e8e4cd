import t from "tap";
import { systemClock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import { knownCallers } from "../../gateway/feed/known-callers.ts";
import type { WhoAnswer } from "../../gateway/wire.ts";
import { ADA } from "../fixtures/directory.ts";

const NEVER = new AbortController().signal;
const AWAY = new Fault("CONTROL_AWAY", "away");

/** Control's answers, one after the other; an answer counts for no time, so that each call asks. */
function callersOf(t: { teardown(act: () => unknown): unknown }, answers: (WhoAnswer | undefined | Fault | Promise<WhoAnswer>)[]) {
  const asked: string[] = [];
  const callers = knownCallers({
    validMs: 1,
    clock: systemClock(),
    ask: async (token) => {
      asked.push(token);
      const answer = await answers.shift();
      if (answer instanceof Fault) throw answer;
      return answer;
    },
  });
  t.teardown(() => callers.close());
  const who = async (token = "token") => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    return callers.who(token, NEVER);
  };
  return { callers, asked, who };
}

t.test("while control is away, who was known is known still", async (t) => {
  const { who, asked } = callersOf(t, [ADA, AWAY, AWAY]);
  t.equal((await who())?.login, ADA.login);
  t.equal((await who())?.login, ADA.login);
  t.equal(asked.length, 2);
  t.equal((await who())?.login, ADA.login, "and for a while nobody waits for control to say nothing");
  t.equal(asked.length, 2);
  await t.rejects(who("another"), { code: "CONTROL_AWAY" });
});

t.test("a failure of another kind is no excuse", async (t) => {
  const { who } = callersOf(t, [ADA, new Fault("INTERNAL", "broken")]);
  await who();
  await t.rejects(who(), { code: "INTERNAL" });
});

t.test("who was refused, or may have signed out, is not remembered from before", async (t) => {
  const refused = callersOf(t, [ADA, undefined]);
  await refused.who();
  t.equal(await refused.who(), undefined);
  const left = callersOf(t, [ADA, AWAY]);
  await left.who();
  left.callers.forget();
  await t.rejects(left.who(), { code: "CONTROL_AWAY" });
});

t.test("an answer that a sign-out overtook is not remembered", async (t) => {
  const late = Promise.withResolvers<WhoAnswer>();
  const { callers, who } = callersOf(t, [late.promise, AWAY]);
  const first = who();
  await new Promise((resolve) => setTimeout(resolve, 20));
  callers.forget();
  late.resolve(ADA);
  t.equal((await first)?.login, ADA.login);
  await t.rejects(who(), { code: "CONTROL_AWAY" });
});
