import t from "tap";
import { ExpiringMap } from "../../lib/expiring-map.ts";
import { createStillClock } from "../fixtures/clock.ts";

t.test("an entry ends after its time, which begins again when it is set again", async (t) => {
  const clock = createStillClock();
  const map = new ExpiringMap<string, number>({ ms: 1_000, most: 3, clock });
  map.set("a", 1);
  map.set("b", 2);
  await clock.advance(600);
  map.set("a", 3);
  t.equal(map.get("b"), 2);
  await clock.advance(400);
  t.equal(map.get("b"), undefined);
  t.equal(map.get("a"), 3);
  map.delete("a");
  t.equal(map.get("a"), undefined);
});

t.test("one entry too many replaces the oldest", async (t) => {
  const map = new ExpiringMap<string, true>({ ms: 1_000, most: 3, clock: createStillClock() });
  for (const key of ["a", "b", "c", "a", "d"]) map.set(key, true);
  t.strictSame(
    ["a", "b", "c", "d"].map((key) => map.get(key)),
    [true, undefined, true, true],
  );
  map.clear();
  t.equal(map.get("a"), undefined);
});
