import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import type { MetricsAggregator } from "../lib/metrics/serve-metrics.ts";
import { DISTRIBUTION_ENDS_MS } from "./distribution/distribution-program.ts";
import { explainConsolePort, explainPort, type ListeningHandle, openListeningHandle, portOf } from "./listeners.ts";
import { superviseChild, type SupervisedProcess } from "./supervise-process.ts";

/** How long the gateways may finish open exchanges, and control its own work, before they are ended by force. */
const CONTROL_GRACE_MS = 10_000;
/** What a gateway takes to end after its time for open exchanges is up. */
const END_MS = 1_000;
/** What is behind a registry proxy ends after it, and not at all where that is ended by force. */
const CONNECTION_DRAIN_MS: Readonly<Record<string, number>> = { registry: DISTRIBUTION_ENDS_MS };

export type Served = {
  port: number;
  /** The registry proxy's, where there is one. */
  registryPort: number | undefined;
  /** The spawner API's, where it is opened. */
  spawnerPort: number | undefined;
  /** The console's, where it has a listener of its own. */
  consolePort: number | undefined;
  /** Resolves when all of it takes requests; rejects with the fault that keeps it from that, or because it was stopped first. */
  ready: Promise<void>;
  /** Makes the processes read again what may have changed: certificates. */
  reload(): void;
  /** The listening sockets, by name. */
  listeners: ReadonlyMap<string, ListeningHandle>;
  /** Ends what may run only once, control and a registry of berth's own, and tells which has ended: the next berth starts its own. */
  release(ended: (role: string) => void): Promise<void>;
  /** Starts again what that ended, where the next berth did not come to take requests. May be repeated. */
  resume(): Promise<void>;
  /** At any time; to be called also of one that could not start. `handedOver`: another berth accepts in its place. */
  stop(handedOver?: boolean): Promise<void>;
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
  /** Listening sockets that are open already, by name; and when the berth that had them has let go of what a role needs for itself. */
  inherited?: { listeners: ReadonlyMap<string, ListeningHandle>; released(role: string): Promise<void> };
  /** The control plane is on another machine, and the gateways' environment says where: none is started here. */
  joins?: boolean;
  /** Where the registry proxy listens, and the role that runs it. */
  registry: { role: string; host: string; port: number } | undefined;
  /** Where the spawner API listens. */
  spawner?: { host: string; port: number } | undefined;
  /** Where control serves the console. The socket is opened here, so that connections wait in its queue while control is replaced. */
  console?: { host: string; port: number } | undefined;
  /** How long a process may be silent before it is replaced; undefined: no check. */
  watchdogMs: number | undefined;
  /** How long the gateways take at most to turn load balancers away, and then to end what is open. */
  drainMs: number;
  /** Where what the processes count is put together. */
  metrics?: { gathering: MetricsAggregator; own: Metrics } | undefined;
  clock: Clock;
  log: Log;
}): Promise<Served> {
  const { script, env, clock, log, drainMs, watchdogMs } = options;
  const sockets = new Map<string, ListeningHandle>();
  const listenAt = async (name: string, at: { host: string; port: number }) => {
    const inherited = options.inherited?.listeners.get(name);
    const bound = inherited ? { handle: inherited, port: portOf(inherited) } : await openListeningHandle(at, clock);
    sockets.set(name, bound.handle);
    return bound;
  };
  const { handle, port } = await listenAt("edge", options).catch(explainPort("BERTH_EDGE_PORT names another port for the edge."));
  const registryAt =
    options.registry && (await listenAt("registry", options.registry).catch(explainPort("BERTH_REGISTRY_PORT names another port for the registry.")));
  const spawnerAt = options.spawner && (await listenAt("spawner", options.spawner));
  const consoleAt = options.console && (await listenAt("console", options.console).catch(explainConsolePort));
  const released = async (role: string) => options.inherited?.released(role);
  const countedOf = (role: string) =>
    options.metrics && {
      gathering: options.metrics.gathering,
      restarts: options.metrics.own.restarts.at(role),
      hangs: options.metrics.own.hangs.at(role),
    };
  const keepControl = (after: Promise<void>) =>
    // Which port the edge has, control tells browsers.
    superviseChild({
      role: "control",
      script,
      env: { ...env, BERTH_EDGE_PORT: String(port) },
      released: after,
      ...(consoleAt && { handle: Promise.resolve(consoleAt.handle) }),
      metrics: countedOf("control"),
      watchdogMs,
      clock,
      log,
    });
  let control = options.joins === true ? undefined : keepControl(released("control"));
  let listeners: { role: string; child: SupervisedProcess; at: ListeningHandle; behindMs: number }[] = [];
  let stopping = false;
  const open = (role: string, at: ListeningHandle) => {
    // All load their code at the same time; but they connect to control's sockets, which it makes once it holds the data folder's lock.
    const mayHave = Promise.all([control?.ready, isSingle(role) ? released(role) : undefined]);
    const given = mayHave.then(() => at);
    given.catch(() => undefined);
    const child = superviseChild({
      role,
      script,
      env,
      handle: given,
      besideControl: options.joins !== true,
      metrics: countedOf(role),
      watchdogMs,
      clock,
      log,
    });
    listeners.push({ role, child, at, behindMs: CONNECTION_DRAIN_MS[role] ?? 0 });
  };
  const unlessStopping = () => {
    if (stopping) throw new Fault("INTERNAL", "berth was stopped while it started.");
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
  const stop = async (handedOver = false) => {
    stopping = true;
    const ended = Promise.all(listeners.map(({ child, behindMs }) => child.stop(drainMs + END_MS + behindMs, handedOver)));
    // An open socket here would let clients wait that no gateway accepts any more.
    for (const socket of sockets.values()) socket.close();
    await ended;
    await control?.stop(CONTROL_GRACE_MS);
  };
  let isReleased = false;
  let releasing: Promise<unknown> = Promise.resolve();
  const release = async (over: (role: string) => void) => {
    isReleased = true;
    const endControl = async () => {
      await control?.stop(CONTROL_GRACE_MS);
      over("control");
    };
    const endSingle = async ({ role, child, behindMs }: (typeof listeners)[number]) => {
      await child.stop(drainMs + END_MS + behindMs, true);
      over(role);
    };
    await (releasing = Promise.all([endControl(), ...listeners.filter(({ role }) => isSingle(role)).map(endSingle)]));
  };
  let resuming: Promise<void> | undefined;
  // Also the second caller learns whether it runs.
  const resume = () => (resuming ??= startAgain().finally(() => (resuming = undefined)));
  const startAgain = async () => {
    if (!isReleased || stopping) return;
    isReleased = false;
    await releasing;
    control = options.joins === true ? undefined : keepControl(Promise.resolve());
    const singles = listeners.filter(({ role }) => isSingle(role));
    listeners = listeners.filter(({ role }) => !isSingle(role));
    await Promise.all(singles.map(({ child }) => child.stop(0)));
    for (const { role, at } of singles) open(role, at);
    try {
      await control?.ready;
    } catch (error) {
      // It would be started again and again beside the next attempt's.
      await control?.stop(CONTROL_GRACE_MS);
      isReleased = true;
      throw error;
    }
  };
  const reload = () => {
    listeners.forEach(({ child }) => child.tell("SIGHUP"));
    control?.tell("SIGHUP");
  };
  const ports = { port, registryPort: registryAt?.port, spawnerPort: spawnerAt?.port, consolePort: consoleAt?.port };
  return { ...ports, ready, reload, listeners: sockets, release, resume, stop };
}

/** Two registries of berth's own cannot have the same images; of all other listeners two may run for a while. */
function isSingle(role: string): boolean {
  return role === "registry";
}

/**
 * Resolves when each of these processes of one role is ready or was given up, and one at least is ready: a crash loop of one gateway is no reason to
 * end those that serve. Rejects at once with the fault that a process gives itself, such as a setting that is wrong.
 */
async function oneReady(children: readonly SupervisedProcess[]): Promise<void> {
  const crashes: Fault[] = [];
  const crashed = (error: unknown) => {
    if (!(error instanceof Fault) || error.code !== "INTERNAL") throw error;
    crashes.push(error);
  };
  await Promise.all(children.map(({ ready }) => ready.catch(crashed)));
  if (crashes.length === children.length && crashes[0]) throw crashes[0];
}
