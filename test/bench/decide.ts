/**
 * What a decision costs: a warm, authenticated GET from its head to its lease's end, over the real cache of callers and the real
 * counting of use, without any socket. Prints nanoseconds of CPU per request, the median of several passes.
 */
import type { ContainerUse } from "../../gateway/contract.ts";
import { systemClock } from "../../lib/clock.ts";
import { createDecide } from "../../gateway/containers/decide.ts";
import { createHold } from "../../gateway/containers/hold.ts";
import { createLeases } from "../../gateway/containers/lease.ts";
import { createOpenExchanges } from "../../gateway/containers/open-exchanges.ts";
import type { Head } from "../../gateway/decision.ts";
import { Fault } from "../../lib/fault.ts";
import { openCallerCache } from "../../gateway/feed/caller-cache.ts";
import { createContainerCache } from "../../gateway/feed/container-cache.ts";
import { openUseReports } from "../../gateway/feed/use-reports.ts";
import { DEFAULT_LIMITS } from "../fixtures/gateway-limits.ts";
import { createReadiness } from "../../gateway/readiness.ts";
import { openLog } from "../../lib/log.ts";

const CALLS = Number(process.env["CALLS"] ?? 300_000);
const PASSES = 5;
const CONTAINERS = 1_000;

const clock = systemClock();
const log = openLog({ level: "silent", name: "bench" });
const containers = createContainerCache();
const ids = Array.from({ length: CONTAINERS }, (_, at) => `1b9f4f0c-5c8e-4c53-9a52-${at.toString(16).padStart(12, "0")}`);
for (const id of ids) containers.change({ id, name: "demo", availability: { kind: "awake", addresses: [{ host: "127.0.0.1", port: 9 }] } });
const reports = openUseReports({ clock, send: () => Promise.resolve() });
const callers = openCallerCache({
  clock,
  closed: new AbortController().signal,
  full: () => new Fault("CONTROL_AWAY", "full"),
  findCallers: async () => [{ userId: "11111111-1111-4111-8111-111111111111", login: "ada", admin: false }],
});
const directory = {
  find: (id: string) => Promise.resolve(containers.find(id)),
  cached: (id: string) => containers.find(id),
  watch: containers.watch,
  wake: () => Promise.resolve(),
  startStatus: () => Promise.resolve(undefined),
  reportConnected: () => undefined,
  reportBusy: () => undefined,
  reportUse: (use: ContainerUse) => reports.used(use, false),
  close: () => Promise.resolve(),
};
const hold = createHold({ directory, clock, limit: 10, timeoutMs: 1_000, ofUser: { ofContainer: 10, ofAll: 10 } });
const leases = createLeases({ directory, hold, exchanges: createOpenExchanges(), clock, suspectAddressMs: 1_000 });
const readiness = createReadiness("ready");
const decide = createDecide({
  readiness,
  directory,
  identity: callers,
  leases,
  api: { target: { socketPath: "/nowhere" } },
  origins: [],
  limits: DEFAULT_LIMITS,
  clock,
  log,
});

/** As a small GET of a script has it; the strings are new each time, as those of a parsed head are. */
function headOf(at: number): Head {
  const values: Record<string, string> = {
    host: "stand.example:8080",
    "user-agent": "bench",
    accept: "*/*",
    authorization: Buffer.from(`a-session-token-of-sixty-four-characters-as-they-are-given-${at % 1_000}`).toString("latin1"),
  };
  return {
    method: "GET",
    target: Buffer.from(`/api/docker/containers/proxy/${ids[at % CONTAINERS]}/square?number=4`).toString("latin1"),
    upgrade: false,
    header: (name) => values[name],
  };
}

const peer = { address: "127.0.0.1" };
const { signal } = new AbortController();

async function pass(work: (head: Head) => unknown): Promise<number> {
  const heads = Array.from({ length: 1_000 }, (_, at) => headOf(at));
  const before = process.cpuUsage();
  for (let at = 0; at < CALLS; at++) {
    const head = heads[at % 1_000] as Head;
    const done = work(head);
    if (done instanceof Promise) await done;
  }
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1_000) / CALLS;
}

const request = async (head: Head) => {
  const decision = await decide({ head, peer, tls: false, signal });
  return decision instanceof Promise ? decision.then(execute) : execute(decision);
};

async function execute(decision: Awaited<ReturnType<typeof decide>>): Promise<unknown> {
  if (decision.kind !== "forward") throw new Error(decision.kind);
  const { lease, forward } = decision;
  const finish = () => {
    lease.countBytes(100, "client");
    forward.response({ status: 200, header: () => undefined, names: () => [] }, 0);
    lease.release();
  };
  const target = await lease.target();
  return target instanceof Promise ? target.then(finish) : finish();
}

const figures: number[] = [];
await pass(request);
for (let at = 0; at < PASSES; at++) figures.push(await pass(request));
console.log(`decide, lease and edits: ${figures.map((figure) => figure.toFixed(0)).join(" ")} ns each`);
await callers.close();
await reports.close();
