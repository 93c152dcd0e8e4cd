import t from "tap";
import { failoverRun } from "./fixtures/failover-run.ts";

/** Three faults of `npm run failover`, with half the lease: the part of it that every run of the tests has. */
t.test("kill -9 of the leader, a step-down and a restart of the database lose nothing", async (t) => {
  const { code, output } = await failoverRun(["--faults", "3", "--seed", "1", "--lease", "3", "--only", "kill -9 of the leader,step-down,restart"]);
  t.comment(output);
  t.equal(code, 0, output);
});
