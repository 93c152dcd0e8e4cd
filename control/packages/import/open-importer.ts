import { randomUUID } from "node:crypto";
import type { Driver } from "../../../drivers/driver.ts";
import type { Clock } from "../../../lib/clock.ts";
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
  planImport,
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

/** Containers that are checked at a time. Each takes a call of the engine, and up to 3 s if it does not answer. */
const AT_ONCE = 32;

export type Importer = {
  /**
   * Takes images and containers of another server into the store: all that it returns, or nothing. Existing ones stay as they are. Faults:
   * REQUEST_INVALID for what cannot be read, ENGINE_UNREACHABLE, ENGINE_FAILED, and the store's.
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
      const { images, containers } = readAll(request);
      const adoptable = await findAdoptables(parts, request, containers, signal);
      const now = clock.now();
      // In one transaction: what is planned is what is written.
      const plan = await store.transaction(async () => {
        const planned = await planImport(store, images, containers, adoptable);
        if (!request.dryRun) await recordImport({ store, environment, now, importer }, planned);
        return planned;
      });
      if (request.dryRun) return plan;
      for (const { image, fate } of plan.images) if (fate === "import") await lifecycle.requestValidation(image.id, importer.id, now);
      for (const { container, fate } of plan.containers)
        if (fate === "import" || fate === "adopt") await lifecycle.definitionChanged(container.id, importer.id);
      return plan;
    },
  };
}

/** Each once. A container may contain its image. */
function readAll({ images, containers }: Import): { images: ImportedImage[]; containers: ImportedContainer[] } {
  const readContainers = containers.map(readContainer);
  const all = [...readContainers.flatMap(({ image }) => image ?? []), ...images.map(readImage)];
  const byId = <T extends { id: string }>(those: readonly T[]) => [...new Map(those.map((one) => [one.id, one])).values()];
  return { images: byId(all), containers: byId(readContainers) };
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

/** Writes the plan, with the ids of the other server; call it in a transaction. */
export async function recordImport(deps: ImportDeps, { images, containers }: Plan): Promise<void> {
  for (const { image, fate } of images) if (fate === "import") await recordImage(deps, image);
  for (const planned of containers) if (planned.fate === "import" || planned.fate === "adopt") await recordContainer(deps, planned);
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

async function recordContainer(deps: ImportDeps, { container, adoptable }: PlannedContainer): Promise<void> {
  const { store, environment, now, importer } = deps;
  const { id, name, friendlyName, imageId, config, env, status, service } = container;
  const image = await store.images.find(imageId);
  if (image === undefined) return;
  const isFirst = (await store.containers.byImage(imageId)).every(({ folder }) => folder !== image.folder);
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
