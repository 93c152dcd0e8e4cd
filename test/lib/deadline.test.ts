import t from "tap";
import { completesWithin, openDeadline, raceAbort, withTimeout } from "../../lib/deadline.ts";
import { createStillClock } from "../fixtures/clock.ts";

const overdue = () => new Error("overdue");
const never = () => new Promise<never>(() => {});

t.test("a task that ends in time leaves neither a timer nor a listener", async (t) => {
  const clock = createStillClock();
  const caller = new AbortController();
  t.equal(await withTimeout({ clock, ms: 100, overdue, signal: caller.signal }, async () => 7), 7);
  t.equal(clock.pending(), 0);
  await t.rejects(
    withTimeout({ clock, ms: 100, overdue }, () => Promise.reject(new Error("own"))),
    { message: "own" },
  );
  t.equal(clock.pending(), 0);
});

t.test("a task that does not notice its signal is rejected at the limit, or when the caller aborts", async (t) => {
  const clock = createStillClock();
  const late = t.rejects(withTimeout({ clock, ms: 100, overdue }, never), { message: "overdue" });
  await clock.advance(100);
  await late;
  const caller = new AbortController();
  let own: AbortSignal | undefined;
  const left = withTimeout({ clock, ms: 100, overdue, signal: caller.signal }, (signal) => ((own = signal), never()));
  caller.abort(new Error("left"));
  await t.rejects(left, { message: "left" });
  t.equal(own?.aborted, true);
  t.equal(clock.pending(), 0);
  await t.rejects(withTimeout({ clock, ms: 100, overdue, signal: caller.signal }, never), { message: "left" }, "a signal that has aborted before");
});

t.test("progress extends a deadline up to its cap", async (t) => {
  const clock = createStillClock();
  const deadline = openDeadline({ clock, ms: 100, capMs: 250, overdue });
  for (let i = 0; i < 3; i++) {
    await clock.advance(80);
    t.notOk(deadline.signal.aborted);
    deadline.extend();
  }
  await clock.advance(10);
  t.match(deadline.signal.reason, { message: "overdue" });
});

t.test("a closed deadline does not abort, even while it reads what the abort would remove", async (t) => {
  const clock = createStillClock();
  const read = Promise.withResolvers<void>();
  const deadline = openDeadline({ clock, ms: 100, overdue, beforeAbort: () => read.promise });
  await clock.advance(100);
  t.notOk(deadline.signal.aborted);
  deadline.close();
  read.resolve();
  await clock.advance(1);
  t.notOk(deadline.signal.aborted);
});

t.test("a race ends with the abort", async (t) => {
  const caller = new AbortController();
  t.equal(await raceAbort(Promise.resolve(1), caller.signal), 1);
  caller.abort(new Error("left"));
  await t.rejects(raceAbort(never(), caller.signal), { message: "left" });
});

t.test("a wait of a limited time ends with its promise, and leaves no timer behind", async (t) => {
  const clock = createStillClock();
  t.equal(await completesWithin(Promise.resolve(7), 100, clock), true);
  await t.rejects(completesWithin(Promise.reject(new Error("own")), 100, clock), { message: "own" });
  t.equal(clock.pending(), 0);
  const late = completesWithin(never(), 100, clock);
  await clock.advance(100);
  t.equal(await late, false);
});
