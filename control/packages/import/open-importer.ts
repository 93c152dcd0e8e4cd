import { randomUUID } from "node:crypto";
import type { Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { claimImage, imageOfRef } from "../../identity/rights.ts";
import { ownedAddresses } from "../../lifecycle/addresses.ts";
import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";
import { type Container, newContainer, type User } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { followerFolder, importedPackageName } from "../publish/record-package.ts";
import {
  type Adoptable,
  findAdoptable,
  type ImportedContainer,
  type ImportedImage,
  type Plan,
  createImportPlanner,
  type PlannedContainer,
  type PlannedImage,
  readContainer,
  readImage,
  runsThere,
} from "./plan-import.ts";

export type Import = {
  /** As the REST API of the other server returns them. */
  images: readonly unknown[];
  containers: readonly unknown[];
  /** Take over what runs, as it is. */
  adopt: boolean;
  /** Only return the plan. */
  dryRun: boolean;
};

/** Images or containers of one transaction, and of one turn of the event loop: there may be a hundred thousand. */
const IN_ONE_PART = 50;

/** Containers that are checked at a time. Each takes a call of the engine, and up to 3 s if it does not answer. */
const AT_ONCE = 32;

export type Importer = {
  /**
   * Takes images and containers of another server into the store. Existing ones stay as they are. Where it fails, or the client leaves, what it has taken so
   * far stays too, and a repetition takes the rest. Faults: REQUEST_INVALID for what cannot be read, before anything is taken; ENGINE_UNREACHABLE,
   * ENGINE_FAILED, and the store's.
   */
  take(request: Import, importer: Pick<User, "id" | "login">, signal: AbortSignal): Promise<Plan>;
};

export function openImporter(parts: {
  store: Store;
  driver: Driver;
  lifecycle: Pick<Lifecycle, "requestValidation" | "definitionChanged">;
  environment: string;
  clock: Clock;
}): Importer {
  const { store, lifecycle, environment, clock } = parts;
  return {
    take: async (request, importer, signal) => {
      const { images, containers } = await readAll(request);
      const adoptable = await findAdoptables(parts, request, containers, signal);
      const now = clock.now();
      const planner = createImportPlanner(store, adoptable);
      const recorder = createImportRecorder({ store, environment, now, importer });
      /** Each part in one transaction: what is planned is what is written. */
      const takeAll = async <T, P>(
        all: readonly T[],
        plan: (one: T) => Promise<P>,
        record: (planned: P) => Promise<void>,
        follow: (planned: P) => Promise<void>,
      ) => {
        const planned: P[] = [];
        for (const part of inParts(all)) {
          signal.throwIfAborted();
          const takePart = async () => {
            const those: P[] = [];
            for (const one of part) {
              const next = await plan(one);
              if (!request.dryRun) await record(next);
              those.push(next);
            }
            return those;
          };
          const taken = await (request.dryRun ? takePart() : store.transaction(takePart));
          if (!request.dryRun) for (const one of taken) await follow(one);
          planned.push(...taken);
          await new Promise(setImmediate);
        }
        return planned;
      };
      return {
        images: await takeAll(images, planner.image, recorder.image, async ({ image, fate }) => {
          if (fate === "import") await lifecycle.requestValidation(image.id, importer.id, now);
        }),
        containers: await takeAll(containers, planner.container, recorder.container, async ({ container, fate }) => {
          if (fate === "import" || fate === "adopt") await lifecycle.definitionChanged(container.id, importer.id);
        }),
      };
    },
  };
}

function inParts<T>(all: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(all.length / IN_ONE_PART) }, (_, at) => all.slice(at * IN_ONE_PART, (at + 1) * IN_ONE_PART));
}

/** Each once. A container may contain its image. */
async function readAll(request: Import): Promise<{ images: ImportedImage[]; containers: ImportedContainer[] }> {
  const images = new Map<string, ImportedImage>();
  const containers = new Map<string, ImportedContainer>();
  const readEach = async (entities: readonly unknown[], read: (entity: unknown) => void): Promise<void> => {
    for (const part of inParts(entities)) {
      for (const one of part) read(one);
      await new Promise(setImmediate);
    }
  };
  await readEach(request.containers, (entity) => {
    const container = readContainer(entity);
    containers.set(container.id, container);
    if (container.image) images.set(container.image.id, container.image);
  });
  await readEach(request.images, (entity) => {
    const image = readImage(entity);
    images.set(image.id, image);
  });
  return { images: [...images.values()], containers: [...containers.values()] };
}

async function findAdoptables(
  parts: { store: Store; driver: Driver; clock: Clock },
  { adopt }: Import,
  containers: readonly ImportedContainer[],
  signal: AbortSignal,
): Promise<Map<string, Adoptable | string>> {
  const here = new Set((await parts.store.containers.stateOfEach()).map(({ id }) => id));
  const running = containers.filter((one) => runsThere(one) && !here.has(one.id));
  const results = new Map<string, Adoptable | string>();
  if (!adopt) return new Map(running.map(({ id }) => [id, "it runs there, and goes on running there"]));
  for (let at = 0; at < running.length; at += AT_ONCE) {
    const some = running.slice(at, at + AT_ONCE);
    const answers = await Promise.all(some.map((one) => findAdoptable(parts, one, signal)));
    for (const [index, { id }] of some.entries()) results.set(id, answers[index] as Adoptable | string);
  }
  return results;
}

type ImportDeps = { store: Store; environment: string; now: number; importer: Pick<User, "id" | "login"> };

/** Writes what is planned, with the ids of the other server, if it is to be imported or adopted; call it in a transaction. */
export function createImportRecorder(deps: ImportDeps) {
  /** Images whose own folder has a container. */
  const served = new Set<string>();
  return {
    image: async ({ image, fate }: PlannedImage): Promise<void> => {
      if (fate === "import") await recordImage(deps, image);
    },
    container: async (planned: PlannedContainer): Promise<void> => {
      if (planned.fate === "import" || planned.fate === "adopt") await recordContainer(deps, planned, served);
    },
  };
}

/** Its owner here: the user with the author's login, else the importer. */
export async function ownerOf(
  { store, importer }: Pick<ImportDeps, "store" | "importer">,
  author: string | undefined,
): Promise<Pick<User, "id" | "login">> {
  return (author === undefined ? undefined : await store.users.byLogin(author)) ?? importer;
}

async function recordImage(deps: ImportDeps, { author, status: _status, ...image }: PlannedImage["image"]): Promise<void> {
  const { store, now } = deps;
  const packageId = await packageOf(deps, author);
  for (const name of [image.name, imageOfRef(image.ref)]) if (name !== undefined) await claimImage(store, name, { packageId }, now);
  await store.images.insert({
    ...image,
    packageId,
    // No folder of a package has such a name: each stays apart until its package is published.
    folder: image.id,
    files: "",
    state: "PENDING_VALIDATION",
    since: now,
    fault: undefined,
    resolvedId: undefined,
    digest: undefined,
    exposed: [],
    command: [],
    healthcheck: undefined,
    contentHash: undefined,
    warnings: [],
    logs: "",
    createdOn: now,
    updatedOn: now,
  });
}

async function recordContainer(deps: ImportDeps, { container, adoptable }: PlannedContainer, served: Set<string>): Promise<void> {
  const { store, environment, now, importer } = deps;
  const { id, name, friendlyName, imageId, config, env, status, service } = container;
  const image = await store.images.find(imageId);
  if (image === undefined)
    throw new Fault("IMAGE_ENTITY_NOT_FOUND", `The image ${imageId} of the container ${name} was removed during the import. Repeat the import.`);
  // Once for each image, which may have thousands of containers.
  const isFirst = !served.has(imageId) && (await store.containers.ofImages([imageId])).every(({ folder }) => folder !== image.folder);
  served.add(imageId);
  const rest: Partial<Container> = status.startsWith("stopped by system") ? { state: "SYSTEM_STOPPED", stopFor: "system" } : {};
  const port = config.port ?? adoptable?.port;
  const addresses = ownedAddresses(adoptable?.addresses ?? [], adoptable?.instance);
  // An address that another container has is verified first, with the orchestrator.
  const isShared = (await store.containers.atAddresses(addresses)).length > 0;
  await store.containers.insert({
    ...newContainer(environment, id, name, config, now),
    ...rest,
    ...(adoptable === undefined
      ? {}
      : {
          service: service ?? "",
          state: isShared ? ("CHECKING" as const) : ("STARTED" as const),
          desiredInstances: 1 as const,
          requestedBy: importer.id,
          requestedOn: now,
          runningGeneration: 1,
          runningSince: now,
          deployed: { ref: image.ref },
          addresses: isShared ? [] : addresses,
          adopted: { instance: adoptable.instance, generation: 1, port: adoptable.port },
          // Used until now, for all that is known.
          lastActive: now,
        }),
    packageId: image.packageId,
    imageId,
    folder: isFirst ? image.folder : followerFolder(image, id),
    name,
    friendlyName,
    config: port === undefined ? config : { ...config, port },
    env,
    updatedOn: now,
  });
}

async function packageOf(deps: ImportDeps, author: string | undefined): Promise<string> {
  const { store, now } = deps;
  const { id: authorId, login } = await ownerOf(deps, author);
  const name = importedPackageName(login);
  return (
    (await store.packages.byName(name)) ??
    (await store.packages.insert({ id: randomUUID(), name, version: "0.0.0", authorId, createdOn: now, updatedOn: now }))
  ).id;
}
