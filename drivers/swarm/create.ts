import type { AuthConfig, CreateServiceOptions } from "dockerode";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import type { Reach } from "../engine/reach.ts";
import { parseLabels, foreignOwnerOf } from "../labels.ts";
import { localContainer } from "./inspect.ts";
import { isNameTaken } from "./overlay.ts";
import { publishes } from "./observe.ts";
import { remove } from "./destroy.ts";
import { currentTask, findService, isOver, type Service, tasksOf } from "./task.ts";

const PAUSE_MS = 50;
/** Two seconds of others taking the name between our looks. */
const ATTEMPTS = 40;

export type Created = { id: string; adopted: boolean };

/** Creates the service, or finds the one that is as good; the name's holder of any other generation goes first. */
export async function createOrAdopt(
  engine: Engine,
  spec: Spec,
  way: Reach,
  body: CreateServiceOptions,
  login: AuthConfig | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<Created> {
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
