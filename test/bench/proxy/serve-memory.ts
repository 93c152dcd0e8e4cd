import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause } from "../../fixtures/clock.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { pssKb } from "./cost.ts";
import { tree } from "./pinned.ts";

/** Memory of an idle `berth serve` with the driver `process`, in MiB: the sum of the proportional memory of its processes, and each of them. */
export type ServeMemory = { totalMib: number; processes: { role: string; mib: number }[] };

/** Garbage of the start is collected meanwhile, and its memory returned. */
const SETTLE_MS = 30_000;

/** Of the checkout at `root`, from its sources as `./berth` runs them. */
export async function measureServe(root: string): Promise<ServeMemory> {
  const folder = mkdtempSync(join(tmpdir(), "berth-bench-serve-"));
  try {
    // A program that no other process runs: of what they shared, only a part would count.
    const node = join(folder, "node");
    copyFileSync(process.execPath, node);
    // An installation that has run before: the first start compiles.
    await startServe(root, { folder, node, settleMs: 0 });
    return await startServe(root, { folder, node, settleMs: SETTLE_MS });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startServe(root: string, { folder, node, settleMs }: { folder: string; node: string; settleMs: number }): Promise<ServeMemory> {
  const env = {
    BERTH_DRIVER: "process",
    BERTH_EDGE_PORT: "0",
    BERTH_DATA: join(folder, "data"),
    BERTH_ADMIN_KEY: "bench-key",
    HOME: folder,
    NODE_COMPILE_CACHE: join(root, "node_modules/.cache/berth"),
  };
  const berth = await startBerthProcess({ role: "serve", cwd: folder, env, command: [node, join(root, "berth.ts")], announces: /http:\S+/ });
  try {
    const { status } = await fetch(`${berth.announced[0]}/readyz`);
    if (status !== 200) throw new Error(`berth serve is not ready: ${status}`);
    await pause(settleMs);
    const processes = tree(berth.pid).map((pid) => ({ role: roleOf(pid), mib: pssKb(pid) / 1_024 }));
    return { totalMib: processes.reduce((sum, { mib }) => sum + mib, 0), processes };
  } finally {
    await berth.end("SIGTERM");
  }
}

/** The command of berth that a process runs. */
function roleOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").filter(Boolean).at(-1) ?? "";
}
