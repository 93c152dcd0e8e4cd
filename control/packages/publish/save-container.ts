import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Driver } from "../../../drivers/driver.ts";
import type { CallerReply } from "../../../gateway/contract.ts";
import { Fault } from "../../../lib/fault.ts";
import { mayStillManage } from "../../identity/rights.ts";
import type { Lifecycle } from "../../lifecycle/open-lifecycle.ts";
import { type Container, type ContainerConfig, type Image, newContainer } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";
import { containerKeysOf, readContainerKeys } from "./container-json.ts";
import { requireDependencies } from "./definitions.ts";
import { followerFolder, isFollower } from "./record-package.ts";
import { requireFreeName } from "./require-free-names.ts";
import { requireReplicas } from "./require-replicas.ts";

/** The text in place of a secret value. A client that sends it back keeps the value. */
export const MASK = "***";

/** A client's changes to a container. A missing field stays as it is. */
export type SavedContainer = {
  name?: string | undefined;
  friendlyName?: string | undefined;
  /** As in `container.json`, but for image and variables. */
  config?: Record<string, unknown> | undefined;
  /** All variables: a missing one is removed. */
  environmentVars?: Record<string, unknown> | undefined;
};

export type Saving = SavedContainer & { by: Pick<CallerReply, "userId" | "admin"> } & (
    | { container: Container }
    | { image: Image; id: string | undefined }
  );

type SavingDeps = { store: Store; environment: string; now: number; replicas: Driver["replicas"] };

const NAME = /^[A-Za-z0-9][\w.-]{0,199}$/;
const LONGEST_FRIENDLY_NAME = 200;

/** Containers of a package that were made by hand; a package has up to 500 folders. */
export const MOST_BY_HAND = 500;

/** A changed definition replaces what runs, as publishing does; the next publish of its folder replaces it. */
export async function saveContainer(deps: SavingDeps & { lifecycle: Pick<Lifecycle, "definitionChanged"> }, changes: Saving): Promise<Container> {
  const { store, lifecycle } = deps;
  const saved = await store.transaction(() =>
    "container" in changes ? change(deps, changes.container.id, changes) : make(deps, changes.image, changes.id, changes),
  );
  await lifecycle.definitionChanged(saved.id);
  return saved;
}

async function change(deps: SavingDeps, id: string, changes: Saving): Promise<Container> {
  const { store, now } = deps;
  // Another definition may have come since the caller read it.
  const current = await store.containers.find(id);
  if (!current) throw new Fault("CONTAINER_NOT_FOUND", `There is no container ${id}.`);
  await requireStillManage(store, changes, current.packageId);
  const patch = { ...(await readNames(store, changes, current, current.packageId)), ...readDefinition(changes, current) };
  if (changes.config !== undefined) await requireKnownDependencies(store, current, patch.config);
  if (!isDeepStrictEqual(current.config.replicas, patch.config.replicas)) await requireReplicasTogether(deps, { ...current, ...patch });
  const changed = !isDeepStrictEqual([current.config, current.env], [patch.config, patch.env]);
  const fresh = changed ? { generation: current.generation + 1, attempts: 0, notBefore: 0 } : {};
  return (await store.containers.update(current.id, { ...patch, ...fresh, updatedOn: now })) ?? current;
}

async function make(deps: SavingDeps, image: Image, given: string | undefined, changes: Saving): Promise<Container> {
  const { name, friendlyName } = await readNames(deps.store, changes, undefined, image.packageId);
  if (name === undefined) throw new Fault("REQUEST_INVALID", "A new container needs a name.");
  const { config, env } = readDefinition(changes, undefined);
  // A package's container had this id, or other programs still use it: no other container may take it.
  if (given !== undefined && (await deps.store.tombstones.find(given)))
    throw new Fault("REQUEST_INVALID", `The container ${given} was removed: leave out its id to make another, or publish its package again.`);
  if (given !== undefined && (await deps.store.containers.find(given))) throw new Fault("REQUEST_INVALID", `There is a container ${given} already.`);
  // As it is now: a publish may have removed it since the caller looked.
  const current = await deps.store.images.find(image.id);
  if (!current || current.state === "DELETED") throw new Fault("IMAGE_ENTITY_NOT_FOUND", `There is no image ${image.id}.`);
  await requireStillManage(deps.store, changes, current.packageId);
  const others = await deps.store.containers.byPackage(current.packageId);
  if (others.filter(isFollower).length >= MOST_BY_HAND)
    throw new Fault("REQUEST_INVALID", `This package has ${MOST_BY_HAND} containers that were made by hand, which is the most: delete some of them.`);
  const id = given ?? randomUUID();
  await requireReplicasTogether(deps, { id, name, packageId: current.packageId, config });
  await requireKnownDependencies(deps.store, { packageId: current.packageId, folder: followerFolder(current, id) }, config);
  return deps.store.containers.insert({
    ...newContainer(deps.environment, id, name, config, deps.now),
    packageId: current.packageId,
    imageId: current.id,
    folder: followerFolder(current, id),
    name,
    friendlyName: friendlyName ?? name,
    config,
    env,
    updatedOn: deps.now,
  });
}

/** Plugins find containers by name, so no two may share one. */
async function readNames(store: Store, { name, friendlyName }: SavedContainer, current: Container | undefined, packageId: string) {
  if (name !== undefined && name !== current?.name) {
    if (!NAME.test(name)) throw new Fault("REQUEST_INVALID", `${JSON.stringify(name.slice(0, 100))} is no name: letters, digits, _ . and - only.`);
    const where = [{ columns: ["name"], holds: "is", value: name }] as const;
    if ((await store.containers.ids({ where })).some((id) => id !== current?.id))
      throw new Fault("REQUEST_INVALID", `There is a container ${name} already.`);
  }
  if (friendlyName !== undefined && friendlyName.length > LONGEST_FRIENDLY_NAME) {
    throw new Fault("REQUEST_INVALID", `A friendly name has at most ${LONGEST_FRIENDLY_NAME} characters.`);
  }
  const changed = [name, friendlyName].filter((one) => one !== undefined && one !== current?.name && one !== current?.friendlyName);
  for (const one of changed) await requireFreeName(store, packageId, one ?? "");
  return { ...(name === undefined ? {} : { name }), ...(friendlyName === undefined ? {} : { friendlyName }) };
}

/** The rights of now: a publish, or a change of groups, may have come since the request was authorized. Faults: NOT_PERMITTED. */
async function requireStillManage(store: Store, { by }: Pick<Saving, "by">, packageId: string): Promise<void> {
  if (!(await mayStillManage(store, by, packageId))) throw new Fault("NOT_PERMITTED", "You may no longer manage the containers of this package.");
}

/** As a publish requires it of all containers of a package. Faults: REQUEST_INVALID. */
async function requireReplicasTogether(
  { store, replicas }: Pick<SavingDeps, "store" | "replicas">,
  saved: Pick<Container, "id" | "name" | "packageId" | "config">,
): Promise<void> {
  if (saved.config.replicas === undefined) return;
  const others = (await store.containers.replicatedOf(saved.packageId)).filter(({ id }) => id !== saved.id);
  try {
    requireReplicas(
      [saved, ...others].map(({ name, config }) => ({ at: name, config })),
      replicas,
    );
  } catch (error) {
    throw asRequestInvalid(error);
  }
}

/** Faults: REQUEST_INVALID. */
async function requireKnownDependencies(store: Store, of: Pick<Container, "packageId" | "folder">, { dependsOn }: ContainerConfig): Promise<void> {
  if (dependsOn === undefined) return;
  const folders = (await store.containers.byPackage(of.packageId)).map(({ folder }) => [folder, []] as const);
  const others = (await store.containers.dependents(of.packageId)).map(({ folder, config }) => [folder, config.dependsOn ?? []] as const);
  try {
    requireDependencies(new Map<string, readonly string[]>([...folders, ...others, [of.folder, dependsOn]]));
  } catch (error) {
    throw asRequestInvalid(error);
  }
}

function asRequestInvalid(error: unknown): unknown {
  return error instanceof Fault && error.code === "PACKAGE_INVALID" ? new Fault("REQUEST_INVALID", error.message, { cause: error }) : error;
}

function readDefinition(changes: SavedContainer, current: Container | undefined): { config: ContainerConfig; env: Record<string, string> } {
  const variables = changes.environmentVars ?? current?.env ?? {};
  const unmasked = Object.entries(variables).map(([name, value]) => [name, value === MASK ? (current?.env[name] ?? value) : value]);
  const json = { ...(current ? containerKeysOf(current.config) : {}), ...changes.config, environmentVars: Object.fromEntries(unmasked) };
  try {
    const read = readContainerKeys(json, "config");
    const [unknown] = read.warnings;
    if (unknown !== undefined) throw new Fault("REQUEST_INVALID", unknown);
    if (read.image !== undefined) throw new Fault("REQUEST_INVALID", "A container's image is its `dockerfile`, not a part of its configuration.");
    return { config: read.config, env: read.env };
  } catch (error) {
    throw asRequestInvalid(error);
  }
}
