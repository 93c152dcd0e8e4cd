import { pause } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { runningServices } from "../fixtures/control-cluster.ts";
import { type FailoverCluster, LEASE_SECONDS, openFailoverCluster, serviceEpochs } from "./cluster.ts";
import { type FailoverLoad, startLoad } from "./load.ts";

/** `crash`: another process has to lead. `planned`: the leader hands over. `outage`: wakes wait until it is over, and are measured from then. */
type FaultKind = "crash" | "planned" | "outage";
/** Resolves when the fault is there; what it returns ends it. */
type FaultPlay = (cluster: FailoverCluster, leader: number) => Promise<() => Promise<void>>;

const BEYOND_LEASE_MS = LEASE_SECONDS * 1_000 + 3_000;
const nothing = async () => undefined;
const controlAt = ({ controls }: FailoverCluster, at: number) => {
  const control = controls[at];
  if (!control) throw new Error(`no control ${at}`);
  return control;
};

const FAULTS: Record<string, { kind: FaultKind; play: FaultPlay }> = {
  "kill -9 of the leader": {
    kind: "crash",
    play: async (cluster, at) => {
      controlAt(cluster, at).signal("SIGKILL");
      return nothing;
    },
  },
  "SIGSTOP of the leader beyond its lease": {
    kind: "crash",
    play: async (cluster, at) => {
      const pid = controlAt(cluster, at).pid();
      process.kill(pid, "SIGSTOP");
      return async () => {
        await pause(BEYOND_LEASE_MS);
        process.kill(pid, "SIGCONT");
      };
    },
  },
  "the leader without its database": {
    kind: "crash",
    play: async (cluster, at) => {
      const restore = cluster.cut("database", at);
      return async () => {
        await pause(BEYOND_LEASE_MS);
        restore();
      };
    },
  },
  "SIGTERM of the leader": {
    kind: "planned",
    play: async (cluster, at) => {
      controlAt(cluster, at).signal("SIGTERM");
      return nothing;
    },
  },
  "step-down of the leader": {
    kind: "planned",
    play: async (cluster) => {
      const [client] = cluster.gateways;
      await client?.call("/admin/control/step-down", { method: "POST", headers: { authorization: `Dev ${client.key}` } });
      return nothing;
    },
  },
  "the leader without its gateways": {
    kind: "outage",
    play: async (cluster, at) => {
      const restore = cluster.cut("gateways", at);
      await pause(4_000);
      restore();
      return nothing;
    },
  },
  "restart of the database": {
    kind: "outage",
    play: async ({ postgres }) => {
      await postgres.stop("SIGINT");
      await pause(500);
      await postgres.start();
      return nothing;
    },
  },
  "kill of the database": {
    kind: "outage",
    play: async ({ postgres }) => {
      await postgres.stop("SIGKILL");
      await pause(3_000);
      await postgres.start();
      return nothing;
    },
  },
  "kill -9 of a standby": {
    kind: "planned",
    play: async (cluster, at) => {
      controlAt(cluster, (at + 1) % cluster.controls.length).signal("SIGKILL");
      return nothing;
    },
  },
};

export type FailoverResult = {
  fault: string;
  kind: FaultKind;
  /** Until a wake that was sent at the fault, or at the outage's end, was served: its start included. */
  servedMs: number;
  problems: string[];
};

export type FailoverReport = {
  results: FailoverResult[];
  /** Of a wake without a fault, for comparison. */
  plainMs: number;
  warm: FailoverLoad["warm"];
  wakes: FailoverLoad["wakes"];
  writes: FailoverLoad["writes"];
};

/** Plays random faults, one after the other, and checks after each. The same seed plays the same faults. */
export async function playFailover(
  t: { teardown(end: () => unknown): void },
  { faults, seed, folder, report }: { faults: number; seed: number; folder: string; report(line: string): void },
): Promise<FailoverReport> {
  const cluster = await openFailoverCluster(t, folder);
  const load = await startLoad(cluster.gateways);
  const random = generator(seed);
  const results: FailoverResult[] = [];
  await load.prepare();
  const plainMs = await load.probe();
  const names = Object.keys(FAULTS);
  // Each kind once, then at random.
  const order = shuffled(names, random);
  for (let n = 0; n < faults; n++) {
    const fault = order[n] ?? names[Math.floor(random() * names.length)] ?? "";
    const planned = FAULTS[fault];
    if (!planned) throw new Error(fault);
    await standbys(cluster);
    await load.prepare();
    const leader = cluster.controls.indexOf(await cluster.leader());
    const [warm, wakes] = [load.warm.failed.length, load.wakes.failed.length];
    let probing: Promise<number> | undefined;
    const timer = planned.kind === "outage" ? undefined : setTimeout(() => (probing ??= load.probe()), 0);
    const from = performance.now();
    const repair = await planned.play(cluster, leader);
    const over = performance.now();
    clearTimeout(timer);
    probing ??= load.probe();
    const probe = probing;
    const servedMs = (await probe, performance.now() - (planned.kind === "outage" ? over : from));
    await repair();
    const problems = [
      ...load.warm.failed.slice(warm).map((one) => `warm request failed: ${one}`),
      ...load.wakes.failed.slice(wakes).map((one) => `wake failed: ${one}`),
      ...(await check(cluster, load)),
    ];
    results.push({ fault, kind: planned.kind, servedMs, problems });
    report(`${n + 1}. ${fault}: wakes served after ${Math.round(servedMs)} ms${problems.map((one) => `\n   ${one}`).join("")}`);
  }
  await load.stop();
  return { results, plainMs, warm: load.warm, wakes: load.wakes, writes: load.writes };
}

/** All control processes run, and one leads: the next fault meets a whole cluster. */
async function standbys({ controls, leader }: FailoverCluster): Promise<void> {
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

async function check(cluster: FailoverCluster, load: FailoverLoad): Promise<string[]> {
  await standbys(cluster);
  const problems = (await load.missing()).map((one) => `acknowledged, and not there: ${one}`);
  const [writes] = await cluster.query("SELECT count(*)::int AS count FROM write_audit");
  if (writes?.["count"] !== 0) problems.push(`${String(writes?.["count"])} writes of a process that did not lead`);
  const [row] = await cluster.query("SELECT epoch::int AS epoch FROM leadership");
  for (const [service, epoch] of serviceEpochs(cluster.folder))
    if (epoch > Number(row?.["epoch"])) problems.push(`${service} has epoch ${epoch}, of the future`);
  const doubled = () => [...runningServices(cluster.folder)].filter(([, pids]) => pids.length > 1);
  // What a deposed leader started late is repaired within seconds.
  await eventually("no container runs twice", () => doubled().length === 0, 30_000).catch(() => undefined);
  for (const [folder, pids] of doubled()) problems.push(`runs ${pids.length} times: ${folder}`);
  return problems;
}

/** mulberry32 */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  return list
    .map((one) => ({ one, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ one }) => one);
}

/** `share`: 0.5 for the median. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
