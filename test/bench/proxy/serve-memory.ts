import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause } from "../../fixtures/clock.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { pssKb } from "./cost.ts";
import { tree } from "./pinned.ts";

/** Memory of an idle `berth serve` with the driver `process`, in MiB: the sum of the proportional memory of its processes, and each of them. */
export type ServeMemory = { totalMib: number; processes: { role: string; mib: number }[] };

/** Garbage of the start is collected meanwhile. */
const SETTLE_MS = 20_000;

/** Of the checkout at `root`, from its sources. */
export async function measureServe(root: string): Promise<ServeMemory> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-serve-"));
  try {
    const env = { BERTH_DRIVER: "process", BERTH_EDGE_PORT: "0", BERTH_DATA: join(folder, "data"), BERTH_ADMIN_KEY: "bench-key", HOME: folder };
    const command = [process.execPath, join(root, "berth.ts")];
    const berth = await startBerthProcess({ role: "serve", cwd: folder, env, command, announces: /http:\S+/ });
    try {
      const { status } = await fetch(`${berth.announced[0]}/readyz`);
      if (status !== 200) throw new Error(`berth serve is not ready: ${status}`);
      await pause(SETTLE_MS);
      const processes = tree(berth.pid).map((pid) => ({ role: roleOf(pid), mib: pssKb(pid) / 1_024 }));
      return { totalMib: processes.reduce((sum, { mib }) => sum + mib, 0), processes };
    } finally {
      await berth.end("SIGTERM");
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The command of berth that a process runs. */
function roleOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").filter(Boolean).at(-1) ?? "";
}
