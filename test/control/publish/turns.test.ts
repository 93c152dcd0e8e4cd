import t from "tap";
import { openTurns } from "../../../control/publish/turns.ts";

const { signal } = new AbortController();

function work() {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let begun = false;
  return { run: () => ((begun = true), promise), begun: () => begun, end: resolve, fail: reject };
}

const settle = () => new Promise(setImmediate);

t.test("so many run at once, the next wait in line, and whoever comes then is sent away", async (t) => {
  const turns = openTurns({ atOnce: 2, waiting: 1 });
  const [a, b, c] = [work(), work(), work()];
  const first = turns.take(signal, a.run);
  const second = turns.take(signal, b.run);
  const third = turns.take(signal, c.run);
  await t.rejects(
    turns.take(signal, async () => "never"),
    { code: "UPLOADS_FULL", retryAfterMs: 10_000 },
  );
  t.same([a.begun(), b.begun(), c.begun()], [true, true, false]);
  b.fail(new Error("no good"));
  await t.rejects(second, /no good/);
  await settle();
  t.equal(c.begun(), true, "one that fails hands its turn on too");
  a.end("a");
  c.end("c");
  t.same(await Promise.all([first, third]), ["a", "c"]);
  t.equal(await turns.take(signal, async () => "free again"), "free again");
});

t.test("who leaves the line gives the place back", async (t) => {
  const turns = openTurns({ atOnce: 1, waiting: 1 });
  const a = work();
  const first = turns.take(signal, a.run);
  const leaving = new AbortController();
  const reason = new Error("gone");
  const waiting = turns.take(leaving.signal, async () => "never");
  leaving.abort(reason);
  await t.rejects(waiting, reason);
  const next = turns.take(signal, async () => "next");
  a.end("a");
  t.same(await Promise.all([first, next]), ["a", "next"]);
  await t.rejects(
    turns.take(AbortSignal.abort(reason), async () => "never"),
    reason,
  );
});
