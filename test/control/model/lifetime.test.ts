import t from "tap";
import { isAlwaysOn, isExpiredStop, lifetimeLeftMs, minutes } from "../../../control/model/lifetime.ts";

const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, onDemand: true };
const MINUTE = 60_000;

t.test("a lifetime counts from the start, whatever states came since, and ends when the minutes have passed", async (t) => {
  const row = { config: { ...CONFIG, maxMinutes: 1.5 }, since: 9_000, runningSince: 1_000 };
  t.equal(lifetimeLeftMs(row, 1_000), 1.5 * MINUTE);
  t.equal(lifetimeLeftMs(row, 61_000), 0.5 * MINUTE);
  t.equal(lifetimeLeftMs(row, 1_000 + 2 * MINUTE), -0.5 * MINUTE);
  t.equal(lifetimeLeftMs(row, 0), 1.5 * MINUTE, "the clock was set back");
  t.equal(lifetimeLeftMs({ ...row, config: CONFIG }, 61_000), undefined);
  t.equal(lifetimeLeftMs({ ...row, runningSince: undefined }, 9_000), 1.5 * MINUTE);
});

t.test("only a stop of the system that began after the lifetime is one of it", async (t) => {
  const row = { config: { ...CONFIG, maxMinutes: 1 }, since: MINUTE, runningSince: 0, stopFor: "system" as const };
  t.equal(isExpiredStop(row), true);
  t.equal(isExpiredStop({ ...row, since: MINUTE - 1 }), false, "it was idle before");
  t.equal(isExpiredStop({ ...row, stopFor: "user" }), false);
  t.equal(isExpiredStop({ ...row, config: CONFIG }), false);
});

t.test("a container is always on if neither a request starts it nor idleness stops it", async (t) => {
  t.equal(isAlwaysOn({ onDemand: false }), true);
  t.equal(isAlwaysOn({ onDemand: true }), false);
  t.equal(isAlwaysOn({ onDemand: false, shutdownTimeoutMinutes: 5 }), false);
  t.equal(minutes(1), "1 minute");
  t.equal(minutes(0.5), "0.5 minutes");
});
