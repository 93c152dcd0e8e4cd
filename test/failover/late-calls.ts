import { cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import type { Driver, Spec } from "../../drivers/driver.ts";
import { processDriver } from "../../drivers/process/driver.ts";
import { systemClock } from "../../lib/clock.ts";
import { openLog } from "../../lib/log.ts";
import { eventually } from "../fixtures/eventually.ts";
import type { FailoverCluster } from "./cluster.ts";
import type { FailoverLoad } from "./load.ts";

const LATE_START = "late start by an earlier leader";

/** Calls of the driver that a deposed leader had sent, and that take effect under the next one. */
export type LateCalls = {
  counts: { starts: number; recognized: number; stops: number };
  /** Starts a stopped container, and stops a running one, as the leader of this epoch would have. Returns what the present leader did not repair. */
  play(epoch: number): Promise<string[]>;
};

/** By a driver of its own on the cluster's services: it is what executes the call, and does not know who leads. */
export async function createLateCalls(cluster: FailoverCluster, load: FailoverLoad): Promise<LateCalls> {
  const { folder, controls, query } = cluster;
  const driver = processDriver({
    folder: join(folder, "shared/processes"),
    nodePath: process.execPath,
    clock: systemClock(),
    log: openLog({ level: "silent", name: "late calls" }),
  });
  const counts = { starts: 0, recognized: 0, stops: 0 };
  const lines: string[] = [];
  for (const control of controls) control.watch((line) => line.includes(LATE_START) && lines.push(line));
  // The driver has its copy of the files, as an engine has its images: the machine of each control process may be lost.
  const filesOf = (files: string): string => {
    const own = join(folder, "late", files);
    const from = controls.map(({ name }) => join(folder, name, files)).find((path) => existsSync(path));
    if (!existsSync(own) && from !== undefined) cpSync(from, own, { recursive: true });
    return own;
  };
  const specOf = async (name: string, epoch: number): Promise<Spec> => {
    const [row] = await query(`SELECT c.id, c.service, c.generation::int AS generation, i.resolved_id AS image, i.files, s.id AS store
      FROM containers c JOIN images i ON i.id = c.image_id CROSS JOIN store s WHERE c.name = 'load-${name}'`);
    if (!row) throw new Error(`no container ${name}`);
    const text = (column: string) => String(row[column]);
    const [other] = await driver.list({ signal: NEVER });
    return {
      service: text("service"),
      alias: name,
      labels: {
        store: text("store"),
        environment: other?.labels.environment ?? "",
        container: text("id"),
        generation: Number(row["generation"]),
        epoch,
      },
      image: text("image"),
      folder: filesOf(text("files")),
      env: {},
      cpu: 0.25,
      memoryMb: 128,
      shmMb: 64,
      storageGb: 1,
      gpu: 0,
      port: 8080,
      readiness: { kind: "port" },
      graceMs: 5_000,
    };
  };
  for (const name of Object.values(load.late)) await specOf(name, 0);
  const isRunning = async (spec: Spec) => (await driver.inspect(spec.service, { signal: NEVER }))?.running === true;

  const start = async (epoch: number): Promise<string[]> => {
    const spec = await specOf(load.late.start, epoch);
    const before = lines.length;
    // The leader may end it before it is ready.
    await driver.deploy(spec, { signal: NEVER }).catch(() => undefined);
    counts.starts++;
    const isGone = await within(async () => !(await isRunning(spec)));
    const recognized = lines.slice(before).filter((line) => line.includes(spec.labels.container));
    counts.recognized += Math.min(1, recognized.length);
    return [
      ...(isGone ? [] : [`a late start of epoch ${epoch} runs on: ${spec.service}`]),
      ...(recognized.length > 0 ? [] : [`a late start of epoch ${epoch} was not recognized: ${spec.service}`]),
    ];
  };
  const stop = async (epoch: number): Promise<string[]> => {
    const spec = await specOf(load.late.stop, epoch);
    await driver.destroy(spec.service, { signal: NEVER });
    counts.stops++;
    // The next request starts it again, once its end was reported.
    const isBack = await within(async () => (await load.request(load.late.stop)) === 200 && isRunning(spec));
    return isBack ? [] : [`a late stop of epoch ${epoch} was not repaired: ${spec.service}`];
  };
  return { counts, play: async (epoch) => [...(await start(epoch)), ...(await stop(epoch))] };
}

const NEVER: Parameters<Driver["inspect"]>[1]["signal"] = new AbortController().signal;
const REPAIR_MS = 30_000;

async function within(look: () => Promise<boolean>): Promise<boolean> {
  return eventually("the repair", look, REPAIR_MS).then(
    () => true,
    () => false,
  );
}
