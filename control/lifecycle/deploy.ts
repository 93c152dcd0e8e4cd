import { join } from "node:path";
import type { Address, DeployCall, Deployment, Driver, Readiness, Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { readinessOfHealthcheck } from "../../lib/image-healthcheck.ts";
import { isQueueWorker } from "../../lib/queue-worker.ts";
import type { Container, DeployedImage, Image, OwnedAddress, Package } from "../model/entities.ts";
import type { Wake } from "../model/records.ts";
import type { Store } from "../store/open-store.ts";
import { describeAddresses, type EndCounts, hasAddress, ownedAddresses } from "./addresses.ts";
import { enteredOn } from "./decide.ts";
import { type ContainerEngine, createCallWrites, type InFlightOperations, isEngineTrouble, logTailLines } from "./engine.ts";
import type { ImagePolicy } from "./image-policy.ts";
import type { LifecycleLimits } from "./limits.ts";
import { describeTimeout, earlierStarts, expectedPorts, type StartSteps } from "./start-steps.ts";
import type { WatchListeners } from "./listener-watch.ts";
import { containerKey, type PendingStart, turnOf } from "./work-queue.ts";

type StartCheck = { row: Container; image: Image; author: string | undefined };
type SpecParts = { row: Container; image: Image; packageName: string | undefined; plan: ReadinessPlan; env: Record<string, string> };

/** Makes the row's service run and answer, whether or not it does already. Faults: those of the driver, START_TIMED_OUT. */
export type Deploy = (
  row: Container,
  signal: AbortSignal,
  options?: { limitMs?: number; parts?: DeployParts | undefined },
) => Promise<ContainerDeployment>;

/** What a deploy needs besides the row. `owner`: the package. Undefined: it was removed. `wakes`: earlier starts. */
export type DeployParts = {
  image: Image | undefined;
  owner: Pick<Package, "name" | "authorId"> | undefined;
  wakes: readonly Pick<Wake, "phases">[];
  /** Of a start that has just begun. */
  begun?: {
    /** As `InFlightOperations.aborts` when the row was read. */
    aborts: number;
    /** As `environmentOf`; it rejects with what prevents the start. Undefined: not read yet. */
    env: Promise<Record<string, string>> | undefined;
  };
};

/** `deployed`: as it is stored in the row. */
export type ContainerDeployment = Deployment & { deployed: DeployedImage };

/** What a container's specification is made from, besides its row and image. */
export type SpecSource = {
  /** The installation's name, written on everything that berth creates. */
  environment: string;
  /** The variables that every container is given; its own map is added after them. Called at every start, maybe in a transaction. */
  injectedEnv(container: Container, image: Image): Promise<Record<string, string>> | Record<string, string>;
  /** Begins to read what `injectedEnv` needs, in the transaction in which the result is called instead of it. Then all of that is read together with the row. */
  prepareEnv?: (start: PendingStart) => SpecSource["injectedEnv"];
  /** The container's own map as it is handed over; as it is written where this is left out. Called as `injectedEnv`. Faults: those that prevent its start. */
  renderEnv?: (container: Container) => Promise<Record<string, string>>;
  /** As `Labels.epoch`. */
  leaderEpoch?: number | undefined;
  /** What `Image.files` is relative to. */
  filesFolder: string;
};

/** All variables of a container, of the size that it gets. Its own come first: a start that they prevent has made no token. */
export async function environmentOf(
  { source, driver }: { source: Pick<SpecSource, "injectedEnv" | "renderEnv">; driver: Pick<Driver, "healthchecks"> },
  row: Container,
  image: Image,
): Promise<Record<string, string>> {
  const { cpu } = planReadiness(row.config, image, driver);
  const own = (await source.renderEnv?.(row)) ?? row.env;
  const injected = await source.injectedEnv({ ...row, config: { ...row.config, cpu } }, image);
  return { ...injected, ...own };
}

export type ContainerDeployDeps = {
  store: Pick<Store, "id" | "images" | "containers" | "packages" | "wakes">;
  engine: Pick<ContainerEngine, "call" | "logTail">;
  driver: Pick<Driver, "healthchecks">;
  watchListeners: WatchListeners;
  /** As `Moves.claimAddresses`. */
  claimAddresses(row: Container, addresses: readonly OwnedAddress[], isNew: boolean): Promise<void>;
  inFlight: InFlightOperations;
  /** As `StartSlots`. */
  slots: { enter(item: string, user: string, signal: AbortSignal): Promise<void>; leave(item: string): void };
  steps: StartSteps;
  source: SpecSource;
  /** Undefined: any image may run. */
  imagePolicy?: Pick<ImagePolicy, "requireStart" | "isRemembered"> | undefined;
  clock: Pick<Clock, "now">;
  epoch: () => number;
  limits: LifecycleLimits;
};

export function createDeploy({
  store,
  engine,
  driver,
  watchListeners,
  claimAddresses,
  inFlight,
  slots,
  steps,
  source,
  imagePolicy,
  clock,
  epoch,
  limits,
}: ContainerDeployDeps): Deploy {
  const readParts = async ({ id, imageId, packageId }: Container): Promise<DeployParts> => {
    const [image, owner, wakes] = await Promise.all([store.images.find(imageId), store.packages.find(packageId), store.wakes.of(id)]);
    return { image, owner, wakes };
  };
  return async (row, signal, { limitMs = limits.statusMs, parts } = {}) => {
    // A stop that was stored since finds no call in progress that it could abort.
    const isCurrent = parts?.begun?.aborts === inFlight.aborts();
    const [current, { image, owner, wakes, begun }] =
      isCurrent && parts ? [row, parts] : await Promise.all([store.containers.place(row.id), parts ?? readParts(row)]);
    if (row.state === "STARTING" && current?.state !== "STARTING") throw new Fault("CONTAINER_STOPPED", `The start of ${row.name} was cancelled.`);
    if (!image) throw new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`);
    let deployed: DeployedImage = row.deployed ?? { ref: image.ref, digest: image.digest };
    let logs: string[] = [];
    // Until the engine has done its part, the limit is the engine's failure.
    let unanswered = row.state === "STARTING" && row.fault && isEngineTrouble(row.fault.code) ? row.fault : undefined;
    const deadline = {
      ms: Math.min(limitMs, enteredOn(row, epoch()) + limitMs - clock.now()),
      capMs: limits.pullCapMs,
      overdue: () => {
        if (unanswered) return Fault.from({ code: unanswered.code, message: unanswered.message });
        const sentences = describeTimeout(steps.of(row.id) ?? { since: row.since }, limitMs, clock.now());
        return new Fault("START_TIMED_OUT", `The container ${row.name} ${sentences}`, { logs });
      },
      // The driver removes what did not start, and its log with it.
      beforeAbort: async () => {
        // Until then there may be an earlier instance, with a log of its own.
        if (steps.of(row.id)?.launchedOn === undefined) return;
        [logs] = await Promise.all([logTailLines(engine, row, signal), listeners.read()]);
      },
    };
    const prepare = async (stop: AbortSignal): Promise<[Spec]> => {
      // First what may refuse, so that nothing is made for a container that cannot start.
      if (imagePolicy) await requireStart(imagePolicy, { row, image, author: owner?.authorId }, stop);
      const env = await (begun?.env ?? environmentOf({ source, driver }, row, image));
      const plan = planReadiness(row.config, image, driver);
      const sized = { ...row, config: { ...row.config, cpu: plan.cpu } };
      const spec = specOf(source, { row: sized, image, packageName: owner?.name, plan, env });
      stop.throwIfAborted();
      const expected =
        plan.isWorker || plan.readiness.kind === "running" ? [] : expectedPorts(spec, { port: row.config.port, exposed: image.exposed });
      step.prepared(spec, { expected, earlierMs: earlierStarts(wakes) });
      deployed = await rememberImage(store, row, image, plan);
      return [spec];
    };
    const releaseSlot = () => {
      slots.leave(row.id);
      if (unanswered) writes.add(() => store.containers.update(row.id, { fault: undefined }));
      unanswered = undefined;
    };
    const onLaunched = () => {
      step.launched();
      listeners.begin();
      releaseSlot();
    };
    let renewedOn = row.since;
    const writes = createCallWrites();
    const onPull: DeployCall["onPull"] = (progress) => {
      step.pulled(progress);
      // A pull may take half an hour, and is the network's work rather than the engine's.
      releaseSlot();
      const now = clock.now();
      if (now - Math.max(renewedOn, epoch()) < limits.flushMs || now - row.since > limits.pullCapMs) return;
      renewedOn = now;
      writes.add(() => store.containers.move(row.id, "STARTING", "STARTING", { since: now }));
    };
    const onAddresses = (addresses: Address[], instance: string | undefined, isNew: boolean) => {
      if (addresses.length > 0) writes.add(() => claimAddresses(row, ownedAddresses(addresses, instance), isNew));
    };
    const step = steps.begin(row.id);
    const listeners = watchListeners(row.service, { of: () => steps.of(row.id), found: step.found });
    const deployment = await inFlight
      .run(containerKey(row.id), row.generation, signal, (own) =>
        writes.finish(
          engine.call("deploy", prepare, {
            deadline,
            signal: own,
            onPull,
            onLaunched,
            onAddresses,
            onHealthStatus: step.answered,
            onLookup: step.lookedUp,
          }),
        ),
      )
      .finally(() => {
        listeners.end();
        step.end();
      });
    return { ...deployment, deployed };
  };

  /** A start has no slot while berth waits for its image's registry, which may take long. */
  async function requireStart(policy: NonNullable<typeof imagePolicy>, { row, image, author }: StartCheck, signal: AbortSignal): Promise<void> {
    const { ref, digest } = image;
    const isWaiting = row.state === "STARTING" && !policy.isRemembered(image);
    if (isWaiting) slots.leave(row.id);
    await policy.requireStart({ ref, digest, author }, signal);
    if (isWaiting) await slots.enter(row.id, turnOf(row), signal);
  }

  function specOf({ environment, filesFolder, leaderEpoch }: SpecSource, { row, image, packageName, plan, env }: SpecParts): Spec {
    const { readiness, port } = plan;
    const { cpu, memoryMb, shmMb, storageGb, gpu } = row.config;
    return {
      service: row.service,
      alias: row.name,
      labels: {
        store: store.id,
        environment,
        container: row.id,
        generation: row.generation,
        ...(leaderEpoch === undefined ? {} : { epoch: leaderEpoch }),
      },
      image: image.resolvedId ?? image.ref,
      package: packageName,
      ...(image.files === "" ? {} : { folder: join(filesFolder, image.files) }),
      env,
      cpu,
      memoryMb,
      shmMb,
      storageGb,
      gpu,
      port,
      readiness,
      graceMs: limits.graceMs,
      shutdownGraceSeconds: row.config.shutdownGraceSeconds,
    };
  }
}

/** Before anything is made from it, so that nothing ever runs whose image could be taken for unused. Returns what is stored then. */
async function rememberImage(
  { containers }: Pick<Store, "containers">,
  { id, deployed }: Container,
  { ref, digest }: Image,
  { isWorker }: ReadinessPlan,
): Promise<DeployedImage> {
  const worker = isWorker ? (deployed?.worker ?? "silent") : undefined;
  if (deployed?.ref === ref && deployed.digest === digest && deployed.worker === worker) return deployed;
  const fresh = { ref, digest, ...(worker ? { worker } : {}) };
  await containers.update(id, { deployed: fresh });
  return fresh;
}

export type ConfirmDeps = { store: Pick<Store, "containers" | "transaction">; engine: Pick<ContainerEngine, "observe">; ends: EndCounts };

type ConfirmOptions = {
  /** How many ends were reported before the deploy. */
  ends: number;
  /** The call started it: then it is at its address, and the holder before is not. */
  isNew: boolean;
  signal: AbortSignal;
  /** As in `TransactionOptions`: without the move, the next look deploys it again. */
  isDeferred?: boolean;
};

/**
 * The result of a deploy counts only where no end was reported since it began, nor an address given to another container; else the orchestrator is queried
 * once more. Of one that ran already, addresses that other containers have are taken only where the orchestrator reports that those are not there. The last
 * look and `move` are one transaction. Returns what `move` does. Faults: CONTAINER_CRASHED where it is not the same any more, ENGINE_FAILED where two are at one address, ENGINE_UNREACHABLE.
 */
export async function confirmDeployment<R>(
  { store, engine, ends: counts }: ConfirmDeps,
  row: Container,
  deployed: Pick<Deployment, "addresses" | "instance">,
  { ends: before, isNew, signal, isDeferred = false }: ConfirmOptions,
  move: () => Promise<R>,
): Promise<R> {
  for (let ends = before, checked: readonly Container[] = []; ;) {
    const confirm = async () => {
      const holders = isNew ? [] : await othersAt(store, row, deployed.addresses);
      const isConfirmed = counts.count(row.id) === ends && holders.every(({ id }) => checked.some((one) => one.id === id));
      return isConfirmed ? { result: await move() } : { holders };
    };
    const last = await store.transaction(confirm, { isDeferred });
    if ("result" in last) return last.result;
    ends = counts.count(row.id);
    const observed = await engine.observe(row, signal);
    const isSame = deployed.instance === undefined || observed?.instance === undefined || deployed.instance === observed.instance;
    if (!observed?.running || !isSame || !deployed.addresses.every((one) => hasAddress(observed.addresses, one)))
      throw new Fault("CONTAINER_CRASHED", `The container ${row.name} ended as soon as it had started.`);
    for (const holder of last.holders) {
      const other = await engine.observe(holder, signal);
      const shared = other?.running ? deployed.addresses.filter((one) => hasAddress(other.addresses, one)) : [];
      if (shared.length > 0) throw sharedAddress(row, holder, shared);
    }
    checked = last.holders;
  }
}

async function othersAt({ containers }: Pick<Store, "containers">, row: Container, addresses: readonly Address[]): Promise<Container[]> {
  return (await containers.atAddresses(addresses)).filter(({ id }) => id !== row.id);
}

function sharedAddress(row: Container, holder: Container, addresses: readonly Address[]): Fault {
  const at = describeAddresses(addresses);
  return new Fault(
    "ENGINE_FAILED",
    `The engine reports both ${row.name} and ${holder.name} at ${at}: ${row.name} is sent nothing there. Restart one of them.`,
  );
}

type ImageFacts = Pick<Image, "exposed" | "command" | "healthcheck" | "dockerfile">;
type ConfigFacts = Pick<Container["config"], "health" | "worker" | "port" | "cpu">;

/** What a container must show before it counts as started, and what follows from that. */
export type ReadinessPlan = {
  readiness: Readiness;
  port: number | undefined;
  /** It takes its work from a queue: it need not listen on its port, and its activity is what it uses. */
  isWorker: boolean;
  /** Cores. */
  cpu: number;
  /** For the package's author: what of the image has no effect here. */
  notes: string[];
};

/** Between two requests for its health. */
const INTERVAL_SECONDS = 10;
const TIMEOUT_SECONDS = 5;
/** A queue worker gets at least so much, as a Datagrok server gives it. */
const WORKER_CPU = 1;

type PlanContext = { config: ConfigFacts; image: ImageFacts; driver: Pick<Driver, "healthchecks">; port: number | undefined; isWorker: boolean };
type Rule = (context: PlanContext, notes: string[]) => { readiness: Readiness; port?: number | undefined } | undefined;

/** The first rule that holds decides. */
const RULES: readonly Rule[] = [
  ({ config: { health }, port }, notes) => {
    if (!health) return undefined;
    const { path, port: own = port, intervalSeconds = INTERVAL_SECONDS, timeoutSeconds = TIMEOUT_SECONDS } = health;
    if (own !== undefined)
      return {
        readiness: { kind: "http", path, port: own, intervalMs: intervalSeconds * 1_000, timeoutMs: timeoutSeconds * 1_000 },
        port: port ?? own,
      };
    notes.push("`health` of container.json is ignored: no port is known, neither its own nor the container's");
    return undefined;
  },
  ({ image: { healthcheck }, driver, isWorker }, notes) => {
    if (!healthcheck) return undefined;
    if (driver.healthchecks) return { readiness: { kind: "healthcheck", ...(isWorker ? { portStaysClosed: true } : {}) } };
    const readiness = readinessOfHealthcheck(healthcheck);
    if (!readiness)
      notes.push("the image's HEALTHCHECK is ignored: it sends no HTTP request that berth could send. `health` in container.json is used everywhere");
    return readiness && { readiness };
  },
  ({ isWorker }) => (isWorker ? { readiness: { kind: "running" } } : undefined),
  ({ port }) => ({ readiness: { kind: port === undefined ? "running" : "port" } }),
];

export function planReadiness(config: ConfigFacts, image: ImageFacts, driver: Pick<Driver, "healthchecks">): ReadinessPlan {
  const isWorker = config.worker ?? isQueueWorker(image);
  const context = { config, image, driver, port: declaredPort({ row: { config }, image }), isWorker };
  const notes: string[] = [];
  for (const rule of RULES) {
    const plan = rule(context, notes);
    if (plan) return { port: context.port, isWorker, cpu: isWorker ? Math.max(config.cpu, WORKER_CPU) : config.cpu, notes, ...plan };
  }
  throw new Error("The last rule always holds");
}

/** The port on which it is to listen. */
export function declaredPort({
  row,
  image,
}: {
  row: { config: Pick<ConfigFacts, "port"> };
  image: Pick<Image, "exposed"> | undefined;
}): number | undefined {
  return row.config.port ?? image?.exposed[0];
}

/** For users: what a queue worker is, and why nothing answers at its port; undefined for every other container. */
export function workerNote(
  { row, image }: { row: Pick<Container, "config" | "deployed">; image: Pick<Image, "exposed"> | undefined },
  state = row.deployed?.worker,
): string | undefined {
  if (!row.deployed?.worker) return undefined;
  const port = declaredPort({ row, image });
  return port === undefined
    ? "queue worker"
    : state === "listens"
      ? `queue worker; listens on port ${port}`
      : `queue worker; nothing listens on port ${port}`;
}
