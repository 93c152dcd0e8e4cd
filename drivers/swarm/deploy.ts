import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";
import { type DeployCall, type Deployment, leavesRunning, type Registry, type Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { type Reach, REACH_RULES } from "../engine/reach.ts";
import { advisedFault } from "../faults.ts";
import { parseReference } from "../image.ts";
import { awaitReady, firstOf, ownHealthPort } from "../ready.ts";
import { currentTask, findService, isOver, listNodes, readCluster, type Task, tasksOf } from "./cluster.ts";
import { createOrAdopt, definition, ensureOverlay, remove, type SwarmSite } from "./create-destroy.ts";
import { refuseWithoutGpu, taskFault, unplacedFault } from "./faults.ts";
import { addressOf, chooseTaskReach, readTaskDetails, type SwarmView } from "./observe.ts";

const POLL_MS = 50;
const PROGRESS_EVERY_MS = 1_000;
/** How often the node of a task that is not ready is looked at. */
const NODE_EVERY_MS = 1_000;
/** How often one start begins anew because its node was lost. */
const MAX_LOST_NODES = 3;

export type SwarmDeployDeps = { engine: Engine; view: SwarmView; site: SwarmSite; registry: Registry | undefined; unplacedMs: number; log: Log };

/** The swarm placed the task on a node that it then lost. It leaves the task as it is. */
class NodeLost extends Fault {
  constructor({ service }: Spec, node: string) {
    super("CONTAINER_CRASHED", `${service}: the swarm has lost its node ${node}.`);
  }
}

/**
 * Creates or adopts the service, then waits until its task answers or ends. For some seconds after the loss of a machine, the swarm still places tasks there:
 * then the service is created once more.
 */
export async function deploy(deps: SwarmDeployDeps, spec: Spec, call: DeployCall): Promise<Deployment> {
  for (let lost = 1; ; lost++) {
    try {
      return await deployOnce(deps, spec, call);
    } catch (error) {
      if (!(error instanceof NodeLost) || lost > MAX_LOST_NODES) throw error;
      deps.log.info({ service: spec.service, why: error.message }, "starting on another node");
    }
  }
}

async function deployOnce(deps: SwarmDeployDeps, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { engine, view, site, log } = deps;
  const { signal } = call;
  const { clock } = engine;
  const began = clock.monotonic();
  const cluster = await readCluster(engine, signal);
  const way = chooseTaskReach(view.standpoint, cluster);
  refuseWithoutGpu(spec, cluster);
  await ensureOverlay(engine, site.network, signal);
  const login = await loginFor(spec.image, deps.registry, call);
  const created = await createOrAdopt(engine, spec, way, definition(spec, site, way, cluster), login, log, signal);
  try {
    signal.throwIfAborted();
    call.onLaunched?.();
    await waitUntilRunning(deps, spec, created.id, call);
    const started = clock.monotonic();
    const { addresses, instance } = await firstOf<TaskEndpoint>(call.signal, (own) => [
      failAtEnd(deps, spec, created.id, own),
      connect(deps, spec, way, { ...call, signal: own, adopted: created.adopted }),
    ]);
    const phases: DriverTimes = { create: started - began, boot: clock.monotonic() - started };
    log.debug({ service: spec.service, adopted: created.adopted, phases }, "service ready");
    return { addresses, instance, phases };
  } catch (error) {
    if (!leavesRunning(call))
      await remove(engine, { id: created.id, name: spec.service }, "ended").catch((err: unknown) =>
        log.warn({ service: spec.service, err }, "cleanup after failed start failed"),
      );
    throw error;
  }
}

/** The login with which nodes pull. Swarm stores it with the service; each start has a new one. */
async function loginFor(image: string, registry: Registry | undefined, call: DeployCall) {
  const named = parseReference(image);
  if (named.kind === "id" || named.registry === undefined) return undefined;
  const login = await registry?.login(named.registry, call);
  return login && { ...login, serveraddress: named.registry };
}

async function waitUntilRunning(deps: SwarmDeployDeps, spec: Spec, id: string, call: DeployCall): Promise<void> {
  const { engine, site, unplacedMs } = deps;
  const { clock } = engine;
  const began = clock.monotonic();
  let reportedAt = began;
  const refuseLostNode = createNodeCheck(deps, spec);
  for (; ; await clock.sleep(POLL_MS, call.signal)) {
    const task = await taskOf(deps, spec, id, call.signal);
    await refuseLostNode(task, call.signal);
    const state = task?.Status.State ?? "new";
    if (state === "running") return;
    const now = clock.monotonic();
    if ((state === "new" || state === "pending") && now - began > unplacedMs) throw unplacedFault(spec, task, site.network);
    // A node that pulls reports only this state, without progress.
    if (state === "preparing" && now - reportedAt > PROGRESS_EVERY_MS) {
      call.onPull?.({ done: 0, total: 0 });
      reportedAt = now;
    }
  }
}

/** The service's task, while it may become or stay ready. Faults: why it cannot. */
async function taskOf({ engine, registry }: SwarmDeployDeps, spec: Spec, id: string, signal: AbortSignal): Promise<Task | undefined> {
  const tasks = await tasksOf(engine, id, signal);
  if (!tasks) throw new Fault("CONTAINER_CRASHED", `Another process removed ${spec.service} before it was ready.`);
  const task = currentTask(tasks);
  if (task && isOver(task)) throw await taskFault(engine, spec, task, registry, { signal });
  return task;
}

/** Faults, at intervals: `NodeLost`. */
function createNodeCheck({ engine }: SwarmDeployDeps, spec: Spec) {
  let checkedAt = engine.clock.monotonic();
  return async (task: Task | undefined, signal: AbortSignal): Promise<void> => {
    const now = engine.clock.monotonic();
    if (task?.NodeID === undefined || now - checkedAt < NODE_EVERY_MS) return;
    checkedAt = now;
    const node = (await listNodes(engine, signal)).find(({ id }) => id === task.NodeID);
    if (node === undefined || node.down) throw new NodeLost(spec, task.NodeID);
  };
}

/** Rejects when the task ends, or its node is lost. */
async function failAtEnd(deps: SwarmDeployDeps, spec: Spec, id: string, signal: AbortSignal): Promise<never> {
  const refuseLostNode = createNodeCheck(deps, spec);
  for (;;) {
    await deps.engine.clock.sleep(POLL_MS * 2, signal);
    await refuseLostNode(await taskOf(deps, spec, id, signal), signal);
  }
}

type TaskEndpoint = Pick<Deployment, "addresses" | "instance">;

/** Resolves when the task is ready, by its spec. */
async function connect(
  { engine, view, site }: SwarmDeployDeps,
  spec: Spec,
  way: Reach,
  { signal, onAddresses, onHealthStatus, onLookup, adopted }: DeployCall & { adopted: boolean },
): Promise<TaskEndpoint> {
  const { clock } = engine;
  const { proof } = REACH_RULES[way];
  if (spec.port === undefined) {
    await awaitReady(spec, { address: undefined, proof }, { clock, signal });
    return { addresses: [] };
  }
  const service = await findService(engine, spec.service, signal);
  const task = service && currentTask((await tasksOf(engine, service.ID, signal)) ?? []);
  const details = service && (await readTaskDetails(engine, view, service, task, signal));
  const address = details && addressOf(view, details);
  // An ended task is the case of `failAtEnd`. Its own machine notices the end before the swarm does.
  const runs = details?.local?.running ?? task?.Status.State === "running";
  if (!address && !runs) return new Promise(() => {});
  if (!address) {
    const sentence = `${spec.service} runs on node ${task?.NodeID}, and berth cannot reach it by "${way}". A task's address leads to its own machine's containers only, and through an overlay (${site.network}) that is not internal`;
    throw advisedFault("CONTAINER_NOT_READY", sentence);
  }
  onAddresses?.([address], task?.ID, !adopted);
  const healthPort = ownHealthPort(spec);
  const health = healthPort === undefined ? undefined : addressOf(view, details, healthPort);
  await awaitReady(spec, { address, proof, health }, { clock, signal, onHealthStatus, onLookup });
  return { addresses: [address], instance: task?.ID };
}
