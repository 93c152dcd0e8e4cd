import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../fixtures/eventually.ts";
import type { FailoverCluster } from "./cluster.ts";
import { LONGEST_DOUBLE_MS } from "./doubles.ts";
import type { FailoverLoad } from "./load.ts";

/** What a deposed leader started late is repaired within seconds. */
const REPAIR_MS = 30_000;
const EXPECTED: Readonly<Record<string, boolean>> = { STARTED: true, USER_STOPPED: false, SYSTEM_STOPPED: false };

/** All control processes run, and one leads: the next fault meets a whole cluster. */
export async function standbys({ controls, leader }: FailoverCluster): Promise<void> {
  await leader();
  let states: (number | undefined)[] = [];
  const described = () => controls.map(({ name, pid, output }, at) => `${name} (${pid()}): ${states[at]}\n${output().slice(-1_500)}`).join("\n");
  await eventually(
    () => `all control processes run:\n${described()}`,
    async () => {
      states = await Promise.all(controls.map((control) => control.readiness()));
      return states.every((state) => state !== undefined) && states.filter((state) => state === 200).length === 1;
    },
  );
}

/** The epoch of the last leader. */
export async function currentEpoch({ query }: FailoverCluster): Promise<number> {
  const [row] = await query("SELECT epoch::int AS epoch FROM leadership");
  return Number(row?.["epoch"]);
}

/** What is wrong after a fault, in sentences. `doubles`: how many containers ran twice before it. */
export async function check(cluster: FailoverCluster, load: FailoverLoad, { doubles }: { doubles: number }): Promise<string[]> {
  await standbys(cluster);
  const problems = (await load.missing()).map((one) => `acknowledged, and not there: ${one}`);
  const [writes] = await cluster.query("SELECT count(*)::int AS count FROM write_audit");
  if (writes?.["count"] !== 0) problems.push(`${String(writes?.["count"])} writes of a process that did not lead`);
  const epoch = await currentEpoch(cluster);
  for (const [service, record] of services(cluster.folder))
    if (record.epoch > epoch) problems.push(`${service} has epoch ${record.epoch}, of the future`);
  let different: string[] = [];
  await eventually("what runs is what is stored", async () => (different = await differences(cluster)).length === 0, REPAIR_MS).catch(
    () => undefined,
  );
  const doubled = cluster.instances.doubles().slice(doubles);
  for (const { container, ms } of doubled) if (ms > LONGEST_DOUBLE_MS) problems.push(`${container} ran twice for ${Math.round(ms)} ms`);
  return [...problems, ...different];
}

/** Containers that run and are stored as stopped, or the other way round. Those that are being started or stopped are left out. */
async function differences({ folder, query }: FailoverCluster): Promise<string[]> {
  const before = services(folder);
  const rows = await query("SELECT service, state FROM containers WHERE state IN ('STARTED', 'USER_STOPPED', 'SYSTEM_STOPPED')");
  const after = services(folder);
  return rows.flatMap((row) => {
    const [service, state] = [String(row["service"]), String(row["state"])];
    const runs = before.has(service);
    return runs === after.has(service) && runs !== EXPECTED[state] ? [`${service} is ${state}, and ${runs ? "runs" : "does not run"}`] : [];
  });
}

/** The services that the driver has, by their names, with the epoch of the leader that started each. */
function services(folder: string): Map<string, { epoch: number }> {
  const records = join(folder, "shared/processes");
  const names = readdirSync(records).filter((name) => name.endsWith(".json"));
  return new Map(
    names.flatMap((name) => {
      try {
        const { service, labels } = JSON.parse(readFileSync(join(records, name), "utf8")) as { service: string; labels: { epoch?: number } };
        return [[service, { epoch: labels.epoch ?? 0 }] as const];
      } catch {
        return [];
      }
    }),
  );
}
