import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import type { Gathering } from "../metrics/gather.ts";
import type { Metrics } from "../metrics/open-metrics.ts";
import { type Child, keepChild } from "./child.ts";
import { DISTRIBUTION_ENDS_MS } from "./distribution/distribution-config.ts";
import { type ListeningHandle, openListeningHandle } from "./listening-handle.ts";

/** How long the gateways may finish open exchanges, and control its own work, before they are ended by force. */
const CONTROL_GRACE_MS = 10_000;
/** What a gateway takes to end after its time for open exchanges is up. */
const END_MS = 1_000;
/** What is behind a registry proxy ends after it, and not at all where that is ended by force. */
const BEHIND_MS: Readonly<Record<string, number>> = { registry: DISTRIBUTION_ENDS_MS };

export type Served = {
  port: number;
  /** The registry proxy's, where there is one. */
  registryPort: number | undefined;
  /** The spawner API's, where it is opened. */
  spawnerPort: number | undefined;
  /** Resolves when all of it takes requests; rejects with the fault that keeps it from that, or because it was stopped first. */
  ready: Promise<void>;
  /** Makes the gateways read again what may have changed: certificates. */
  reload(): void;
  /** At any time; to be called also of one that could not start. */
  stop(): Promise<void>;
};

/**
 * One berth on one machine, or its gateways alone: a control process, gateway processes that share the edge's accept queue, and where there is a registry a process
 * for that alone, since a layer of gigabytes must not stand in the way of a call, and the registry's credential is to be had once. The spawner
 * API, where it is opened, is a process too: what others deploy by it, and the logs that they follow, are no business of control's. This process
 * touches no request and no row; it only keeps the others running, so that none can stall another.
 */
export async function serve(options: {
  script: string | undefined;
  env: NodeJS.ProcessEnv;
  host: string;
  port: number;
  workers: number;
  /** The control plane is on another machine, and the gateways' environment says where: none is started here. */
  joins?: boolean;
  /** Where the registry proxy listens, and the role that runs it. */
  registry: { role: string; host: string; port: number } | undefined;
  /** Where the spawner API listens. */
  spawner?: { host: string; port: number } | undefined;
  /** How long a process may be silent before it is replaced; undefined: nobody checks. */
  watchdogMs: number | undefined;
  /** How long the gateways take at most to turn load balancers away, and then to end what is open. */
  drainMs: number;
  /** Where what the processes count is put together. */
  metrics?: { gathering: Gathering; own: Metrics } | undefined;
  clock: Clock;
  log: Log;
}): Promise<Served> {
  const { script, env, clock, log, drainMs, watchdogMs } = options;
  const { handle, port } = await openListeningHandle(options, clock);
  const registryAt = options.registry && (await openListeningHandle(options.registry, clock));
  const spawnerAt = options.spawner && (await openListeningHandle(options.spawner, clock));
  const countedOf = (role: string) =>
    options.metrics && {
      gathering: options.metrics.gathering,
      restarts: options.metrics.own.restarts.at(role),
      hangs: options.metrics.own.hangs.at(role),
    };
  const control =
    options.joins === true ? undefined : keepChild({ role: "control", script, env, metrics: countedOf("control"), watchdogMs, clock, log });
  const listeners: { role: string; child: Child; behindMs: number }[] = [];
  let stopping = false;
  const open = (role: string, at: ListeningHandle) => {
    // All load their code at the same time; but they connect to control's sockets, which it makes once it holds the data folder's lock.
    const given = (control?.ready ?? Promise.resolve()).then(() => at);
    given.catch(() => undefined);
    const child = keepChild({ role, script, env, handle: given, metrics: countedOf(role), watchdogMs, clock, log });
    listeners.push({ role, child, behindMs: BEHIND_MS[role] ?? 0 });
  };
  const unlessStopping = () => {
    if (stopping) throw new Fault("INTERNAL", "berth was told to end while it started.");
  };
  for (let worker = 0; worker < options.workers; worker++) open("gateway", handle);
  if (options.registry && registryAt) open(options.registry.role, registryAt.handle);
  if (spawnerAt) open("spawner", spawnerAt.handle);
  const start = async () => {
    await control?.ready;
    unlessStopping();
    await Promise.all(
      Map.groupBy(listeners, ({ role }) => role)
        .values()
        .map((group) => oneReady(group.map(({ child }) => child))),
    );
    unlessStopping();
  };
  const ready = start();
  ready.catch(() => undefined);
  const stop = async () => {
    stopping = true;
    const ended = Promise.all(listeners.map(({ child, behindMs }) => child.stop(drainMs + END_MS + behindMs)));
    // With ours open, who connects once the gateways take nobody any more would wait for them rather than be refused.
    handle.close();
    registryAt?.handle.close();
    spawnerAt?.handle.close();
    await ended;
    await control?.stop(CONTROL_GRACE_MS);
  };
  const reload = () => listeners.forEach(({ child }) => child.tell("SIGHUP"));
  return { port, registryPort: registryAt?.port, spawnerPort: spawnerAt?.port, ready, reload, stop };
}

/**
 * Resolves when each of these processes of one role is ready or was given up, and one at least is ready: a crash loop of one gateway is no reason to
 * end those that serve. Rejects at once with the fault that a process gives itself, such as a setting that is wrong.
 */
async function oneReady(children: readonly Child[]): Promise<void> {
  const crashes: Fault[] = [];
  const crashed = (error: unknown) => {
    if (!(error instanceof Fault) || error.code !== "INTERNAL") throw error;
    crashes.push(error);
  };
  await Promise.all(children.map(({ ready }) => ready.catch(crashed)));
  if (crashes.length === children.length && crashes[0]) throw crashes[0];
}
