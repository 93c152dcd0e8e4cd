import type { AuthConfig, CreateServiceOptions } from "dockerode";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { NETWORK_LABEL, type Reach } from "../engine/reach.ts";
import { advisedFault } from "../faults.ts";
import { parseLabels, refuseForeignOwner } from "../labels.ts";
import { currentTask, findService, isOver, type Service, tasksOf } from "./cluster.ts";
import { remove } from "./destroy.ts";
import { localContainer, publishes } from "./observe.ts";

const PAUSE_MS = 50;
/** Two seconds in which other processes take the name again. */
const ATTEMPTS = 40;

type CreatedService = { id: string; adopted: boolean };

/** Creates the service, or adopts it. Removes a service of another generation first. */
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
    refuseForeignOwner(parseLabels(holder.Spec?.Labels), spec, { where: " in the swarm" });
    if (await isAdoptable(engine, holder, spec, way, signal)) return { id: holder.ID, adopted: true };
    log.info({ service: spec.service, generation: parseLabels(holder.Spec?.Labels)?.generation }, "replacing service");
    // By id, so that a service that another process has just created stays.
    await remove(engine, { id: holder.ID, name: spec.service }, "ended", signal);
  }
}

/** The same definition, starting or running. */
async function isAdoptable(engine: Engine, holder: Service, spec: Spec, way: Reach, signal: AbortSignal): Promise<boolean> {
  if (parseLabels(holder.Spec?.Labels)?.generation !== spec.labels.generation) return false;
  if (publishes(holder) !== (way === "published" && spec.port !== undefined)) return false;
  if (holder.Spec?.Mode?.Replicated?.Replicas !== 1) return false;
  const task = currentTask((await tasksOf(engine, holder.ID, signal)) ?? []);
  if (task === undefined) return true;
  const id = task.Status.ContainerStatus?.ContainerID;
  // The engine notices the end of its own container before the swarm does.
  const local = id ? await localContainer(engine, id, signal) : undefined;
  return !isOver(task) && local?.running !== false;
}

/** Without a signal, because the swarm may complete an aborted call. It takes milliseconds. */
async function create(engine: Engine, spec: Spec, body: CreateServiceOptions, login: AuthConfig | undefined): Promise<string> {
  const created = await engine.call({ doing: `Creating ${spec.service}`, kind: "start" }, (docker) =>
    login ? docker.createService(login, body) : docker.createService(body),
  );
  return (created as unknown as { id: string }).id;
}

/** Creates the overlay network if it does not exist. Faults: SPEC_REFUSED if the name is that of another network. */
export async function ensureOverlay(engine: Engine, network: string, signal: AbortSignal): Promise<void> {
  const doing = `Creating the overlay network ${network}`;
  try {
    const { Driver: driver, Scope: scope } = (await engine.call({ doing, signal }, (docker) => docker.getNetwork(network).inspect())) as {
      Driver?: string;
      Scope?: string;
    };
    // An empty driver: another process is creating the network, and the engine has only its name.
    if ((driver === "overlay" && scope === "swarm") || driver === "") return;
    const sentence = `The network ${network} is a ${driver} network, and a swarm's services need an overlay: set BERTH_SWARM_NETWORK to another name`;
    throw advisedFault("SPEC_REFUSED", sentence);
  } catch (error) {
    if (!answered(error, 404)) throw error;
  }
  try {
    // Attachable, so that berth's own container can join it.
    const options = { Name: network, Driver: "overlay", Attachable: true, CheckDuplicate: true, Labels: { [NETWORK_LABEL]: network } };
    await engine.call({ doing, signal }, (docker, abortSignal) => docker.createNetwork({ ...options, abortSignal }));
  } catch (raced) {
    if (!isNameTaken(raced)) throw raced;
  }
}

/** The name is taken: 409, or after two calls at once, a 500 with the sentence of the swarm's store. */
function isNameTaken(error: unknown): boolean {
  return answered(error, 409) || (error instanceof Fault && /name conflicts with an existing object/.test(error.message));
}
