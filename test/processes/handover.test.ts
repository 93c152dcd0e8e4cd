import t from "tap";
import { Fault } from "../../lib/fault.ts";
import { resumeLater } from "../../processes/handover.ts";
import { createStillClock } from "../fixtures/clock.ts";

/** A berth whose control can start again from the attempt on that the test names. */
function released(from: number) {
  const clock = createStillClock();
  const counts = { attempts: 0, logged: 0, isHandingOver: false };
  resumeLater({
    resume: async () => {
      if (++counts.attempts < from) throw new Fault("DATA_FOLDER_IN_USE", "Another berth uses the data folder.");
    },
    isHandingOver: () => counts.isHandingOver,
    clock,
    log: { error: () => void counts.logged++ },
  });
  return { clock, counts };
}

t.test("a berth whose successor still holds the data after it failed tries again until it has them", async (t) => {
  const { clock, counts } = released(4);
  await clock.advance(9_000);
  t.equal(counts.attempts, 0, "the caller puts the old program back first");
  await clock.advance(60_000);
  t.strictSame(counts, { attempts: 4, logged: 3, isHandingOver: false });
});

t.test("an upgrade that begins meanwhile is not disturbed", async (t) => {
  const { clock, counts } = released(4);
  await clock.advance(10_000);
  counts.isHandingOver = true;
  await clock.advance(60_000);
  t.equal(counts.attempts, 1);
});
