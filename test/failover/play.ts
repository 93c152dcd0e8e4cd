import { check, currentEpoch, standbys } from "./check.ts";
import { type FailoverCluster, openFailoverCluster } from "./cluster.ts";
import type { DoubledContainer } from "./doubles.ts";
import { FAULTS, type FailoverFault, type FaultKind } from "./faults.ts";
import { createLateCalls, type LateCalls } from "./late-calls.ts";
import { type FailoverLoad, startLoad } from "./load.ts";
import { describePhases, watchPhases } from "./phases.ts";

export type FailoverResult = {
  fault: string;
  kind: FaultKind;
  /** Until a wake that was sent at the fault, or when the outage was over, was served: its start included. */
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
  late: LateCalls["counts"];
  doubles: readonly DoubledContainer[];
};

/** `containers`: how many more are stored, and sleep. `only`: parts of the names of the faults to play; without one, all of them. */
type PlayOptions = {
  faults: number;
  containers: number;
  seed: number;
  only: readonly string[];
  leaseSeconds: number;
  folder: string;
  report(line: string): void;
};

/** Plays random faults, one after the other, and checks after each. The same seed plays the same faults. */
export async function playFailover(
  t: { teardown(end: () => unknown): void },
  { faults, containers, seed, only, leaseSeconds, folder, report }: PlayOptions,
): Promise<FailoverReport> {
  const cluster = await openFailoverCluster(t, { folder, leaseSeconds });
  const load = await startLoad(cluster);
  if (containers > 0) await storeMore(cluster, containers);
  const late = await createLateCalls(cluster, load);
  const phases = watchPhases(cluster);
  const random = generator(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const results: FailoverResult[] = [];
  await load.prepare();
  const plainMs = await load.probe();
  const possible = FAULTS.filter(({ name }) => only.length === 0 || only.some((part) => name.includes(part)));
  // Each once, then at random.
  const order = shuffled(possible, random);
  for (let n = 0; n < faults; n++) {
    const fault = order[n] ?? pick(possible);
    await standbys(cluster);
    await load.prepare();
    const leader = cluster.controls.indexOf(await cluster.leader());
    const epoch = await currentEpoch(cluster);
    const [warm, wakes] = [load.warm.failed.length, load.wakes.failed.length];
    const doubles = cluster.instances.doubles().length;
    await load.publish();
    phases.begin();
    const { servedMs, repair } = await playFault(fault, load, () => fault.play(cluster, leader, pick));
    const steps = phases.steps();
    await repair();
    const problems = [...(await load.wakePublished()), ...(await check(cluster, load, { doubles }))];
    // Only a process that led before has sent such calls.
    if ((await currentEpoch(cluster)) > epoch) problems.push(...(await late.play(epoch)));
    problems.push(
      ...load.warm.failed.slice(warm).map((one) => `warm request failed: ${one}`),
      ...load.wakes.failed.slice(wakes).map((one) => `wake failed: ${one}`),
    );
    results.push({ fault: fault.name, kind: fault.kind, servedMs, problems });
    report(`${n + 1}. ${fault.name}: wakes served after ${Math.round(servedMs)} ms (${describePhases(steps)})`);
    for (const problem of problems) report(`   ${problem}`);
  }
  await load.stop();
  return { results, plainMs, warm: load.warm, wakes: load.wakes, writes: load.writes, late: late.counts, doubles: cluster.instances.doubles() };
}

/** Copies of one that sleeps. The next leader reads them from the database, and each gateway gets them from that one. */
async function storeMore({ query }: FailoverCluster, containers: number): Promise<void> {
  await query(`SET session_replication_role = replica;
    INSERT INTO containers SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(), 'name', 'more-' || n, 'service', 'more-' || n,
      'folder', 'more-' || n))).* FROM containers c CROSS JOIN generate_series(1, ${containers}) n WHERE c.name = 'load-late-start'`);
}

/** Sends a wake as soon as the fault begins, or when the outage is over, and measures how long that takes. */
async function playFault(fault: FailoverFault, load: FailoverLoad, play: () => Promise<() => Promise<void>>) {
  const isOver = fault.kind === "outage" || fault.kind === "clock";
  let probing: Promise<number> | undefined;
  const timer = isOver ? undefined : setTimeout(() => (probing = load.probe()), 0);
  const begun = performance.now();
  const repair = await play();
  clearTimeout(timer);
  const from = isOver ? performance.now() : begun;
  await (probing ?? load.probe());
  return { servedMs: performance.now() - from, repair };
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
