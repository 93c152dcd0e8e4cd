import t from "tap";
import { openRefreshingValue } from "../../lib/refreshing-value.ts";
import { createStillClock } from "../fixtures/clock.ts";

type Options = Parameters<typeof openRefreshingValue<number>>[0];

/** A value whose loads the test ends: the first load gives 1, and so on. */
function fixture(options: Partial<Options> & { freshMs?: number; lifeMs?: number } = {}) {
  const clock = createStillClock();
  const loads: { settle(error?: Error): Promise<void>; signal: AbortSignal; before: number | undefined }[] = [];
  const { freshMs = 100, lifeMs, ...others } = options;
  const value = openRefreshingValue<number>({
    load: (signal, before) =>
      new Promise((resolve, reject) => {
        const count = loads.length + 1;
        const settle = async (error?: Error) => {
          if (error === undefined) resolve({ value: count, freshMs, ...(lifeMs === undefined ? {} : { lifeMs }) });
          else reject(error);
          await clock.advance(0);
        };
        loads.push({ settle, signal, before });
        signal.addEventListener("abort", () => reject(signal.reason as Error));
      }),
    clock,
    ...others,
  });
  const last = async (error?: Error) => {
    const load = loads.at(-1);
    if (load === undefined) throw new Error("There is no load");
    await load.settle(error);
  };
  return { clock, loads, value, last };
}

const away = new Error("away");

t.test("simultaneous callers share the first load, which goes on when one of them leaves", async (t) => {
  const { value, loads, last } = fixture();
  t.equal(loads.length, 0, "nothing is loaded before the first call");
  const caller = new AbortController();
  const [left, stays] = [value.get(caller.signal), value.get()];
  caller.abort(new Error("left"));
  await t.rejects(Promise.resolve(left), { message: "left" });
  await last();
  t.equal(await stays, 1);
  t.equal(loads.length, 1);
  t.equal(value.get(), 1, "immediate while it is fresh");
});

t.test("a value that is no longer fresh stays in use while the next one is loaded", async (t) => {
  const { value, loads, last, clock } = fixture({ lifeMs: 1_000 });
  const first = value.get();
  await last();
  t.equal(await first, 1);
  await clock.advance(99);
  t.equal(value.get(), 1);
  t.equal(loads.length, 1);
  await clock.advance(1);
  t.same([value.get(), value.get()], [1, 1]);
  t.equal(loads.length, 2);
  t.equal(loads[1]?.before, 1, "a load gets the value before it");
  await last(away);
  t.equal(value.get(), 1, "also if that fails");
  await clock.advance(500);
  void value.get();
  t.equal(loads.length, 3);
  await last();
  t.equal(value.get(), 3);
});

t.test("the times count from the start of the load", async (t) => {
  const { value, loads, last, clock } = fixture();
  void value.get();
  await clock.advance(99);
  await last();
  t.equal(value.get(), 1);
  t.equal(loads.length, 1);
  await clock.advance(1);
  t.equal(value.get(), 1);
  t.equal(loads.length, 2);
});

t.test("a value is not used after its life", async (t) => {
  const { value, last, clock } = fixture({ lifeMs: 200 });
  void value.get();
  await last();
  await clock.advance(200);
  const next = value.get();
  t.type(next, Promise);
  await last();
  t.equal(await next, 2);
  await clock.advance(200);
  const failed = Promise.resolve(value.get());
  const rejected = t.rejects(failed, { message: "away" });
  await last(away);
  await rejected;
});

t.test("a value without a life is used for as long as loading the next one fails", async (t) => {
  const { value, last, clock } = fixture();
  void value.get();
  await last();
  for (let hours = 0; hours < 5; hours++) {
    await clock.advance(3_600_000);
    t.equal(value.get(), 1);
    await last(away);
  }
});

t.test("after a failure, callers get its error until a pause is over, which doubles up to its limit", async (t) => {
  for (const retry of [undefined, { firstMs: 100, longestMs: 400 }]) {
    const { value, loads, last, clock } = fixture(retry ? { retry } : {});
    for (const pauseMs of retry ? [100, 200, 400, 400] : [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
      const rejected = t.rejects(Promise.resolve(value.get()), { message: "away" });
      await last(away);
      await rejected;
      const count = loads.length;
      await clock.advance(pauseMs - 1);
      await t.rejects(Promise.resolve(value.get()), { message: "away" });
      await t.rejects(value.renew(0), { message: "away" });
      t.equal(loads.length, count, `nothing is loaded for ${pauseMs} ms`);
      await clock.advance(1);
    }
    const next = value.get();
    await last();
    t.equal(await next, loads.length);
    await clock.advance(100);
    void value.get();
    await last(away);
    await clock.advance((retry?.firstMs ?? 500) - 1);
    const count = loads.length;
    void value.get();
    t.equal(loads.length, count, "after a success, the pauses begin anew");
    await clock.advance(1);
    void value.get();
    t.equal(loads.length, count + 1);
  }
});

t.test("after the grace time callers wait for the load, but not longer than their patience", async (t) => {
  const { value, loads, last, clock } = fixture({ waiting: { graceMs: 50, patienceMs: 20 } });
  void value.get();
  await last();
  await clock.advance(149);
  t.equal(value.get(), 1, "in its grace time it is immediate");
  t.equal(loads.length, 2);
  await last();
  t.equal(value.get(), 2);

  await clock.advance(150);
  const current = value.get();
  t.equal(loads.length, 3);
  await last();
  t.equal(await current, 3, "the load ends in time");
  t.equal(clock.pending(), 0, "no timer is left");

  await clock.advance(150);
  const failing = value.get();
  await last(away);
  t.equal(await failing, 3, "the load fails");
  t.equal(value.get(), 3, "immediate during the pause");
  t.equal(clock.pending(), 0);

  await clock.advance(500);
  const first = value.get();
  await clock.advance(10);
  const second = value.get();
  t.type(second, Promise);
  await clock.advance(10);
  t.same(await Promise.all([first, second]), [3, 3], "they share one time limit, from the first of them on");
  t.equal(value.get(), 3, "immediate while the load hangs");
  t.equal(loads.length, 5);
  await last();
  t.equal(value.get(), 5);
});

t.test("a renewed value replaces the current one, unless that is new", async (t) => {
  const { value, loads, last, clock } = fixture();
  void value.get();
  await last();
  await clock.advance(4);
  t.equal(await value.renew(5), 1, "as for callers that were refused at the same time");
  t.equal(loads.length, 1);
  await clock.advance(1);
  const renewed = [value.renew(5), value.renew(5), value.renew(0)];
  t.equal(value.get(), 1, "the current one stays in use");
  await last();
  t.same(await Promise.all(renewed), [2, 2, 2]);
  t.equal(loads.length, 2);
  const failed = t.rejects(value.renew(0), { message: "away" });
  await last(away);
  await failed;
  t.equal(value.get(), 2);
});

t.test("a value that is loaded ahead needs no callers", async (t) => {
  const { value, loads, last, clock } = fixture({ ahead: true, lifeMs: 1_000 });
  void value.get();
  await last();
  await clock.advance(100);
  t.equal(loads.length, 2);
  await last();
  t.equal(value.get(), 2);
  await clock.advance(100);
  t.equal(loads.length, 3);
  await last(away);
  await clock.advance(15_499);
  t.equal(loads.length, 3);
  await clock.advance(1);
  t.equal(loads.length, 4, "a failure is repeated when its pause and the longest one are over");
  await last();
  value.close(new Error("closed"));
  await clock.advance(60_000);
  t.equal(loads.length, 4);
  t.equal(clock.pending(), 0);
});

t.test("closing rejects callers with its reason, and is not a failure", async (t) => {
  const counts = { done: 0, failed: 0 };
  const errors: unknown[] = [];
  const { value, loads, last, clock } = fixture({
    counts: { done: { add: () => void counts.done++ }, failed: { add: () => void counts.failed++ } },
    onFailed: (error) => errors.push(error),
    ahead: true,
  });
  const failed = t.rejects(Promise.resolve(value.get()), { message: "away" });
  await last(away);
  await failed;
  await clock.advance(500);
  const first = value.get();
  await last();
  t.equal(await first, 2);
  t.same(counts, { done: 1, failed: 1 });
  t.same(errors, [away]);
  const closed = t.rejects(value.renew(0), { message: "closed" });
  value.close(new Error("closed"));
  await closed;
  t.equal(loads.at(-1)?.signal.aborted, true);
  t.same(counts, { done: 1, failed: 1 });
  t.equal(errors.length, 1);
  t.equal(clock.pending(), 0);
});
