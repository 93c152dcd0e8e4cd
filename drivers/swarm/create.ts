import type { AuthConfig, CreateServiceOptions } from "dockerode";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import type { Reach } from "../engine/reach.ts";
import { parseLabels, foreignOwnerOf } from "../labels.ts";
import { localContainer, publishes } from "./observe.ts";
import { remove } from "./destroy.ts";
import { currentTask, findService, isOver, type Service, tasksOf } from "./cluster.ts";
import { answered } from "../engine/faults.ts";
import { Fault } from "../../lib/fault.ts";

const PAUSE_MS = 50;
/** Two seconds of others taking the name between our looks. */
const ATTEMPTS = 40;

export type CreatedService = { id: string; adopted: boolean };

/** Creates the service, or finds the one that is as good; the name's holder of any other generation goes first. */
export async function createOrAdopt(
  engine: Engine,
  spec: Spec,
  way: Reach,
  body: CreateServiceOptions,
  login: AuthConfig | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<CreatedService> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return { id: await create(engine, spec, body, login), adopted: false };
    } catch (error) {
      if (!isNameTaken(error) || attempt === ATTEMPTS) throw error;
    }
    if (attempt > 1) await engine.clock.sleep(PAUSE_MS, signal);
    const holder = await findService(engine, spec.service, signal);
    if (!holder) continue;
    refuseForeignOwner(holder, spec);
    if (await isAsGood(engine, holder, spec, way, signal)) return { id: holder.ID, adopted: true };
    log.info({ service: spec.service, generation: parseLabels(holder.Spec?.Labels)?.generation }, "Replacing the service.");
    // By its id: whoever else does the same has not made the one that we would remove then.
    await remove(engine, { id: holder.ID, name: spec.service }, "ended", signal);
  }
}

/** The same definition, wished to run, and running or on its way there. */
async function isAsGood(engine: Engine, holder: Service, spec: Spec, way: Reach, signal: AbortSignal): Promise<boolean> {
  if (parseLabels(holder.Spec?.Labels)?.generation !== spec.labels.generation) return false;
  if (publishes(holder) !== (way === "published" && spec.port !== undefined)) return false;
  if (holder.Spec?.Mode?.Replicated?.Replicas !== 1) return false;
  const task = currentTask((await tasksOf(engine, holder.ID, signal)) ?? []);
  if (task === undefined) return true;
  const id = task.Status.ContainerStatus?.ContainerID;
  // The engine knows that a container of its own has ended before the swarm does.
  const local = id ? await localContainer(engine, id, signal) : undefined;
  return !isOver(task) && local?.running !== false;
}

function refuseForeignOwner(holder: Service, spec: Spec): void {
  const owner = foreignOwnerOf(parseLabels(holder.Spec?.Labels), spec.labels, "a service that berth did not make");
  if (owner !== undefined) throw advisedFault("SPEC_REFUSED", `The name ${spec.service} is taken in the swarm by ${owner}`);
}

/** Not cut off by a signal: a swarm that no longer hears us may still create it. It takes milliseconds, or its time-out. */
async function create(engine: Engine, spec: Spec, body: CreateServiceOptions, login: AuthConfig | undefined): Promise<string> {
  const made = await engine.call({ doing: `Creating ${spec.service}`, reading: "start" }, (docker) =>
    login ? docker.createService(login, body) : docker.createService(body),
  );
  return (made as unknown as { id: string }).id;
}

/** Makes sure that the overlay network is there, whoever made it. Faults: SPEC_REFUSED where the name is another network's. */
export async function ensureOverlay(engine: Engine, network: string, signal: AbortSignal): Promise<void> {
  const doing = `Creating the overlay network ${network}`;
  try {
    const found = (await engine.call({ doing, signal }, (docker) => docker.getNetwork(network).inspect())) as { Driver?: string; Scope?: string };
    // Another, who was first, is making it: the engine knows its name, and nothing more of it yet.
    if ((found.Driver === "overlay" && found.Scope === "swarm") || found.Driver === "") return;
    const sentence = `The network ${network} is a ${found.Driver} network, and a swarm's services need an overlay: set BERTH_SWARM_NETWORK to another name`;
    throw advisedFault("SPEC_REFUSED", sentence);
  } catch (error) {
    if (!answered(error, 404)) throw error;
  }
  try {
    // Attachable, so that berth's own container can be put on it.
    const options = { Name: network, Driver: "overlay", Attachable: true, CheckDuplicate: true, Labels: { "berth.network": network } };
    await engine.call({ doing, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
  } catch (raced) {
    if (!isNameTaken(raced)) throw raced;
  }
}

/** That somebody has made one of this name: 409, or where two were at it in the same moment, the store's own words in a 500. */
export function isNameTaken(error: unknown): boolean {
  return answered(error, 409) || (error instanceof Fault && /name conflicts with an existing object/.test(error.message));
}
