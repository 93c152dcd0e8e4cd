import t from "tap";
import { failoverRun } from "./fixtures/failover-run.ts";

/** A seeded sample of all faults, with the lease of the defaults. */
t.test("faults of the leader and of the database lose no acknowledged write, and run no container twice", async (t) => {
  const { code, output } = await failoverRun(["--faults", "4", "--seed", "587"]);
  t.comment(output);
  t.equal(code, 0, output);
});
