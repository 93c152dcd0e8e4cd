import { execFile } from "node:child_process";
import { join } from "node:path";
import t from "tap";

/** A seeded sample of `npm run failover`, which enters a network of its own. */
t.test("faults of the leader and of the database lose no acknowledged write, and run no container twice", async (t) => {
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    execFile(
      process.execPath,
      [join(import.meta.dirname, "run.ts"), "--faults", "4", "--seed", "587"],
      { maxBuffer: 16 * 1_048_576 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: stdout + stderr }),
    );
  });
  t.comment(output);
  t.equal(code, 0, output);
});
