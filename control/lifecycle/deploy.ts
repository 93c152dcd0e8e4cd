import { join } from "node:path";
import type { Address, Deployment, Spec } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Container, Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { createCallWrites } from "./call-driver.ts";
import { enteredOn } from "./deadlines.ts";
import { type ContainerEngine, linesOfTail } from "./engine.ts";
import { isEngineTrouble } from "./failures.ts";
import type { StartSlots } from "./fair-lane.ts";
import type { InFlightOperations } from "./in-flight-operations.ts";
import { containerKey } from "./lanes.ts";
import { type LifecycleLimits, startLimit } from "./limits.ts";
import type { Moves } from "./moves.ts";

/** Makes the row's service run and answer, whether or not it does already. Faults: those of the driver, START_TIMED_OUT. */
export type Deploy = (row: Container, signal: AbortSignal, limitMs?: number) => Promise<Deployment>;

/** What a container's specification is made from, besides its row and image. */
export type SpecSource = {
  /** The installation's name, written on everything that berth creates. */
  environment: string;
  /** The variables that every container is given; its own map is added after them. Called at every start. */
  injectedEnv(container: Container, image: Image): Promise<Record<string, string>> | Record<string, string>;
  /** The container's own map as it is handed over; as it is written where this is left out. Faults: those that prevent its start. */
  renderEnv?: (container: Container) => Promise<Record<string, string>>;
  /** What `Image.files` is relative to. */
  filesFolder: string;
};

export type ContainerDeployDeps = {
  store: Pick<Store, "id" | "images" | "containers" | "packages">;
  engine: Pick<ContainerEngine, "call" | "logTail">;
  moves: Pick<Moves, "claimAddress">;
  inFlight: InFlightOperations;
  slots: Pick<StartSlots, "leave">;
  source: SpecSource;
  clock: Pick<Clock, "now">;
  epoch: () => number;
  limits: LifecycleLimits;
};

export function createDeploy({ store, engine, moves, inFlight, slots, source, clock, epoch, limits }: ContainerDeployDeps): Deploy {
  return async (row, signal, limitMs = startLimit(limits)) => {
    const image = await store.images.find(row.imageId);
    if (!image) return Promise.reject(new Fault("IMAGE_ENTITY_NOT_FOUND", `The image of ${row.name} was removed.`));
    let logs: string[] = [];
    // Until the engine has done its part, the limit is the engine's failure.
    let unanswered = row.state === "STARTING" && row.fault && isEngineTrouble(row.fault.code) ? row.fault : undefined;
    const deadline = {
      ms: Math.min(limitMs, enteredOn(row, epoch()) + limitMs - clock.now()),
      capMs: limits.pullCapMs,
      overdue: () => {
        if (unanswered) return Fault.from({ code: unanswered.code, message: unanswered.message });
        const seconds = Math.round(limitMs / 1000);
        return new Fault("START_TIMED_OUT", `The container ${row.name} did not accept a connection within ${seconds} s.`, { logs });
      },
      // The driver removes what did not start, and its log with it.
      beforeAbort: async () => void (logs = linesOfTail(await engine.logTail(row.service, signal))),
    };
    const prepare = async (stop: AbortSignal): Promise<[Spec]> => {
      // First what may refuse, so that nothing is made for a container that cannot start.
      const own = (await source.renderEnv?.(row)) ?? row.env;
      const spec = await specOf(source, row, image, { ...(await source.injectedEnv(row, image)), ...own });
      stop.throwIfAborted();
      await rememberImage(store, row, image);
      return [spec];
    };
    const onLaunched = () => {
      slots.leave(row.id);
      if (unanswered) writes.add(() => store.containers.update(row.id, { fault: undefined }));
      unanswered = undefined;
    };
    let renewedOn = row.since;
    const writes = createCallWrites();
    const onPull = () => {
      // A pull may take half an hour, and is the network's work rather than the engine's.
      onLaunched();
      const now = clock.now();
      if (now - Math.max(renewedOn, epoch()) < limits.flushMs || now - row.since > limits.pullCapMs) return;
      renewedOn = now;
      writes.add(() => store.containers.move(row.id, "STARTING", "STARTING", { since: now }));
    };
    const onAddress = (address: Address, instance: string | undefined, isNew: boolean) =>
      writes.add(() => moves.claimAddress(row, { ...address, instance }, isNew));
    return inFlight.run(containerKey(row.id), row.generation, signal, (own) =>
      writes.finish(engine.call("deploy", prepare, { deadline, signal: own, onPull, onLaunched, onAddress })),
    );
  };

  async function specOf({ environment, filesFolder }: SpecSource, row: Container, image: Image, env: Record<string, string>): Promise<Spec> {
    const { cpu, memoryMb, shmMb, storageGb, gpu, port } = row.config;
    return {
      service: row.service,
      labels: { store: store.id, environment, container: row.id, generation: row.generation },
      image: image.resolvedId ?? image.ref,
      package: (await store.packages.find(row.packageId))?.name,
      ...(image.files === "" ? {} : { folder: join(filesFolder, image.files) }),
      env,
      cpu,
      memoryMb,
      shmMb,
      storageGb,
      gpu,
      port: port ?? image.exposed[0],
      graceMs: limits.graceMs,
    };
  }
}

/** Before anything is made from it, so that nothing ever runs whose image could be taken for unused. */
async function rememberImage({ containers }: Pick<Store, "containers">, { id, deployed }: Container, { ref, digest }: Image): Promise<void> {
  if (deployed?.ref !== ref || deployed.digest !== digest) await containers.update(id, { deployed: { ref, digest } });
}
