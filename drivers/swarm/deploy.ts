import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { DeployCall, Deployment, Registry, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { type Reach, REACH_RULES } from "../engine/reach.ts";
import { awaitReady } from "../ready.ts";
import { parseReference } from "../image.ts";
import { readCluster, currentTask, findService, isOver, type Task, tasksOf } from "./cluster.ts";
import { createOrAdopt, ensureOverlay } from "./create.ts";
import { definition, type SwarmSite } from "./definition.ts";
import { look, addressOf, type SwarmView, chooseTaskReach } from "./observe.ts";
import { remove } from "./destroy.ts";
import { unplacedFault, taskFault } from "./faults.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";

const LOOK_EVERY_MS = 50;
const TELL_EVERY_MS = 1_000;

export type SwarmStart = { engine: Engine; view: SwarmView; site: SwarmSite; registry: Registry | undefined; unplacedMs: number; log: Log };

/** Create or adopt, and wait until the task runs and answers, or dies. */
export async function deploy(start: SwarmStart, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { engine, view, site, log } = start;
  const { signal } = call;
  const { clock } = engine;
  const began = clock.monotonic();
  const cluster = await readCluster(engine, signal);
  const way = chooseTaskReach(view.standpoint, cluster);
  await ensureOverlay(engine, site.network, signal);
  const login = await loginFor(spec.image, start.registry, call);
  const made = await createOrAdopt(engine, spec, way, definition(spec, site, way, cluster), login, log, signal);
  try {
    signal.throwIfAborted();
    call.onLaunched?.();
    await untilRunning(start, spec, made.id, call);
    const started = clock.monotonic();
    const { address, instance } = await alive(start, spec, made, way, call);
    const phases: DriverTimes = { create: started - began, boot: clock.monotonic() - started };
    log.debug({ service: spec.service, adopted: made.adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), instance, phases };
  } catch (error) {
    await remove(engine, { id: made.id, name: spec.service }, "ended").catch((err: unknown) =>
      log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
    );
    throw error;
  }
}

/** What nodes sign in with to pull. Swarm keeps it with the service; it is renewed with each start. */
async function loginFor(image: string, registry: Registry | undefined, call: DeployCall) {
  const named = parseReference(image);
  if (named.kind === "id" || named.registry === undefined) return undefined;
  const login = await registry?.login(named.registry, call);
  return login && { ...login, serveraddress: named.registry };
}

async function untilRunning(start: SwarmStart, spec: Spec, id: string, call: DeployCall): Promise<void> {
  const { engine, site, unplacedMs } = start;
  const { clock } = engine;
  const began = clock.monotonic();
  let told = began;
  for (; ; await clock.sleep(LOOK_EVERY_MS, call.signal)) {
    const task = await taskOf(start, spec, id, call.signal);
    const state = task?.Status.State ?? "new";
    if (state === "running") return;
    const now = clock.monotonic();
    if ((state === "new" || state === "pending") && now - began > unplacedMs) throw unplacedFault(spec, task, site.network);
    // A node that pulls tells nobody how far it is, only that it prepares.
    if (state === "preparing" && now - told > TELL_EVERY_MS) {
      call.onPull?.({ done: 0, total: 0 });
      told = now;
    }
  }
}

/** The service's task as long as it may still become or stay ready. Faults: why it cannot. */
async function taskOf({ engine, registry }: SwarmStart, spec: Spec, id: string, signal: AbortSignal): Promise<Task | undefined> {
  const tasks = await tasksOf(engine, id, signal);
  if (!tasks) throw new Fault("CONTAINER_CRASHED", `${spec.service} was removed by somebody else before it was ready.`);
  const task = currentTask(tasks);
  if (task && isOver(task)) throw await taskFault(engine, spec, task, registry, { signal });
  return task;
}

/** Resolves when the task is ready, rejects as soon as it has died; whichever loses is called off. */
async function alive(start: SwarmStart, spec: Spec, { id, adopted }: { id: string; adopted: boolean }, way: Reach, call: DeployCall): Promise<Where> {
  const over = new AbortController();
  const either = AbortSignal.any([call.signal, over.signal]);
  try {
    return await Promise.race([death(start, spec, id, either), ready(start, spec, way, { ...call, signal: either, adopted })]);
  } finally {
    over.abort(new Error("The start is decided."));
  }
}

async function death(start: SwarmStart, spec: Spec, id: string, signal: AbortSignal): Promise<never> {
  for (;;) {
    await start.engine.clock.sleep(LOOK_EVERY_MS * 2, signal);
    await taskOf(start, spec, id, signal);
  }
}

type Where = Pick<Deployment, "address" | "instance">;

async function ready(
  { engine, view, site }: SwarmStart,
  spec: Spec,
  way: Reach,
  { signal, onAddress, adopted }: DeployCall & { adopted: boolean },
): Promise<Where> {
  const { clock } = engine;
  if (spec.port === undefined) {
    await clock.sleep(spec.graceMs, signal);
    return {};
  }
  const service = await findService(engine, spec.service, signal);
  const task = service && currentTask((await tasksOf(engine, service.ID, signal)) ?? []);
  const seen = service && (await look(engine, view, service, task, signal));
  const address = seen && addressOf(view, seen);
  // It has died already: `death` knows more. Its own machine knows that before the swarm does.
  const runs = seen?.local?.running ?? task?.Status.State === "running";
  if (!address && !runs) return new Promise(() => {});
  if (!address) {
    const sentence = `${spec.service} runs on node ${task?.NodeID}, and berth cannot reach it by "${way}". A task's address leads to its own machine's containers only, and through an overlay (${site.network}) that is not internal`;
    throw advisedFault("CONTAINER_NOT_READY", sentence);
  }
  onAddress?.(address, task?.ID, !adopted);
  await awaitReady(address, REACH_RULES[way].proof, { clock, signal });
  return { address, instance: task?.ID };
}
