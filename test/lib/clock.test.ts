import t from "tap";
import { onceEvery } from "../../lib/clock.ts";
import { createStillClock } from "../fixtures/clock.ts";

t.test("what may happen once in a time happens at the first call, and again after that time", async (t) => {
  const clock = createStillClock();
  const may = onceEvery(1_000, clock);
  t.strictSame([may(), may()], [true, false]);
  await clock.advance(999);
  t.equal(may(), false);
  await clock.advance(1);
  t.strictSame([may(), may()], [true, false]);
});
