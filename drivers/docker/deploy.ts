import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { advisedFault } from "../faults.ts";
import type { Address, DeployCall, Deployment, Spec } from "../driver.ts";
import type { Engine } from "../engine/engine.ts";
import { answered } from "../engine/faults.ts";
import { pull } from "../engine/pull.ts";
import { REACH_RULES } from "../engine/reach.ts";
import { awaitReady } from "../ready.ts";
import { parseReference } from "../image.ts";
import { containerCrashFault, findContainer } from "./inspect.ts";
import { createOrAdopt } from "./create.ts";
import type { DockerSite } from "./definition.ts";
import { remove } from "./destroy.ts";
import type { NetworkPlace } from "./networks.ts";
import { observeOne, type DockerView } from "./observe.ts";
import type { Rotation } from "./rotation.ts";
import type { DriverTimes } from "../../lib/start-phases.ts";

/** Addresses or ports of ours that turned out to be somebody else's: another berth's on this engine, a program's, or what a lost sandbox still holds. */
const TAKEN = /address already in use|port is already allocated/i;
const ATTEMPTS = 20;

/** Ports of the engine's machine that berth publishes on, beginning with `first`. */
export type PublishedPorts = { first: number; rotation: Rotation };

export type DockerDeployDeps = {
  engine: Engine;
  view: DockerView;
  site: DockerSite;
  ports: PublishedPorts;
  log: Log;
  /** `known`: one from before that may no longer be true. */
  place(spec: Spec, signal: AbortSignal, known?: NetworkPlace): Promise<NetworkPlace>;
  /** Learns from the engine which addresses and ports are in use. */
  look(signal: AbortSignal): Promise<unknown>;
};

/** Creates or adopts, pulls if the image went missing, starts, and waits until it answers or dies. */
export async function deploy(deps: DockerDeployDeps, spec: Spec, call: DeployCall): Promise<Deployment> {
  const { engine, view, log } = deps;
  const { clock } = engine;
  const began = clock.monotonic();
  const { made, pulling } = await launch(deps, spec, call);
  try {
    call.onLaunched?.();
    const started = clock.monotonic();
    const address = await alive(engine, view, spec, made, call);
    const phases: DriverTimes = { ...pulling, create: started - began - (pulling.pull ?? 0), boot: clock.monotonic() - started };
    log.debug({ service: spec.service, adopted: made.adopted, phases }, "Ready.");
    return { ...(address ? { address } : {}), instance: made.id, phases };
  } catch (error) {
    await made.takeAway();
    throw error;
  }
}

type Pulling = Pick<DriverTimes, "pull">;

/**
 * Creates at once, without a query before for what is nearly always true: that the engine has the image, and that the network is the one of some seconds ago. Each
 * query delays the start. Where the engine refuses, both are verified, and the start is tried once more if one of them was the reason.
 */
async function launch(deps: DockerDeployDeps, spec: Spec, call: DeployCall): Promise<{ made: StartedContainer; pulling: Pulling }> {
  let place = await deps.place(spec, call.signal);
  let pulling: Pulling = {};
  for (let placed = 1; ;) {
    try {
      return { made: await createAndStart(deps, place, spec, call.signal), pulling };
    } catch (error) {
      call.signal.throwIfAborted();
      if (pulling.pull === undefined && error instanceof Fault && error.code === "IMAGE_NOT_FOUND") {
        pulling = await pullMissing(deps.engine, spec, call);
        continue;
      }
      if (placed++ > 1 || !place.mayBeOld) throw error;
      const now = await deps.place(spec, call.signal, place);
      if (now.id === place.id) throw error;
      place = now;
    }
  }
}

type StartedContainer = Made & { takeAway(): Promise<void> };

/** Another address and port each time that the engine reports one as taken: it checks only when a container is started. */
async function createAndStart(deps: DockerDeployDeps, place: NetworkPlace, spec: Spec, signal: AbortSignal): Promise<StartedContainer> {
  const { engine, view, site, ports, log } = deps;
  for (let attempt = 1; ; attempt++) {
    // All in use, as far as is known: the last list of containers may be old.
    if (place.isFull()) await deps.look(signal);
    const address = place.takeAddress();
    const port = spec.port !== undefined && REACH_RULES[site.reach].publishes ? ports.rotation.take() : undefined;
    const giveBack = () => {
      if (address !== undefined) place.releaseAddress(address);
      if (port !== undefined) ports.rotation.release(port);
    };
    const endpoint = { network: place.network, address, hostPort: port === undefined ? undefined : ports.first + port };
    const made = await createOrAdopt(engine, view, spec, site, endpoint, log, signal).catch((error: unknown) => {
      giveBack();
      throw error;
    });
    // It has its own.
    if (made.adopted) giveBack();
    const takeAway = async () => {
      await remove(engine, made.id).catch((err: unknown) =>
        log.warn({ service: spec.service, err }, "Could not remove what is left of a failed start."),
      );
      if (!made.adopted) giveBack();
    };
    try {
      signal.throwIfAborted();
      // Not cut off by the signal, for the same reason as create; starting what runs already is a 304, which is fine.
      await start(engine, spec, made.id);
      const given = { ip: address, hostPort: port === undefined ? undefined : endpoint.hostPort };
      return { ...made, joined: place.joined, address: made.adopted ? undefined : givenAddress(view, spec, given), takeAway };
    } catch (error) {
      await takeAway();
      const taken = error instanceof Error && TAKEN.test(error.message) && (address !== undefined || port !== undefined);
      if (!taken || attempt === ATTEMPTS) throw error;
      log.debug({ service: spec.service, address, port: endpoint.hostPort }, "This address or port is taken: the next one.");
    }
  }
}

async function pullMissing(engine: Engine, spec: Spec, call: DeployCall): Promise<Pulling> {
  const ref = parseReference(spec.image);
  if (ref.kind === "id") throw advisedFault("IMAGE_NOT_FOUND", `The engine no longer has the image ${spec.image}`);
  const began = engine.clock.monotonic();
  await pull(engine, ref, call);
  return { pull: engine.clock.monotonic() - began };
}

async function start(engine: Engine, spec: Spec, id: string): Promise<void> {
  try {
    await engine.call({ doing: `Starting ${spec.service}`, reading: "start" }, (docker) => docker.getContainer(id).start());
  } catch (error) {
    if (!answered(error, 304)) throw error;
  }
}

/** Resolves when the container is ready, rejects as soon as it has died; whichever loses is called off. */
async function alive(engine: Engine, view: DockerView, spec: Spec, made: Made, call: DeployCall): Promise<Deployment["address"]> {
  const over = new AbortController();
  const either = AbortSignal.any([call.signal, over.signal]);
  try {
    return await Promise.race([
      death(engine, spec, made.id, either),
      made.joined.then(() => ready(engine, view, spec, made, { ...call, signal: either })),
    ]);
  } finally {
    over.abort(new Error("The start is decided."));
  }
}

/** `joined`: as of its place. `address`: where berth has put it, if berth has chosen that itself. */
type Made = { id: string; adopted: boolean; joined: Promise<void>; address: Address | undefined };

/** Where a container is that runs with an address, or a port, of berth's own choice. */
function givenAddress({ reach, engineHost }: DockerView, { service, port }: Spec, given: { ip: string | undefined; hostPort: number | undefined }) {
  return port === undefined ? undefined : REACH_RULES[reach].address({ service, port, ...given }, engineHost);
}

async function ready(
  engine: Engine,
  view: DockerView,
  spec: Spec,
  { id, adopted, address: given }: Made,
  { signal, onAddress }: DeployCall,
): Promise<Deployment["address"]> {
  const { clock } = engine;
  if (spec.port === undefined) {
    await clock.sleep(spec.graceMs, signal);
    return undefined;
  }
  const found = given ? undefined : await findContainer(engine, id, signal);
  const address = given ?? (found && observeOne(view, found)?.address);
  // It has died already: `death` knows more.
  if (!address && !found?.State.Running) return new Promise(() => {});
  if (!address) throw advisedFault("CONTAINER_NOT_READY", `${spec.service} has no address on the network ${view.network}.`);
  onAddress?.(address, id, !adopted);
  await awaitReady(address, REACH_RULES[view.reach].proof, { clock, signal });
  // Something else may have answered: a process that the engine forgot, or who was given the address since.
  const now = await findContainer(engine, id, signal);
  const still = now && observeOne(view, now);
  if (!now?.State.Running) return new Promise(() => {});
  if (still?.address?.host !== address.host || still.address.port !== address.port)
    throw advisedFault("CONTAINER_NOT_READY", `${spec.service} is no longer at ${address.host} port ${address.port}, where a connect was accepted.`);
  return address;
}

/** The engine answers a wait the moment the container ends. The connection is as long as the start, so it has no limit of its own. */
async function death(engine: Engine, spec: Spec, id: string, signal: AbortSignal): Promise<never> {
  try {
    await engine.docker.getContainer(id).wait({ condition: "not-running", abortSignal: signal });
  } catch (error) {
    signal.throwIfAborted();
    // The wait broke, not the container: readiness alone decides, until the caller's own limit.
    if (!answered(error, 404))
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }));
  }
  throw await containerCrashFault(engine, spec, id, signal);
}
