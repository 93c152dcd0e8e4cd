import { hash, randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Driver } from "../../../drivers/driver.ts";
import { Fault } from "../../../lib/fault.ts";
import { mayManageAuthor } from "../../identity/rights.ts";
import { type Container, type Image, newContainer, type Package, type User } from "../../model/entities.ts";
import { serviceName } from "../../model/names.ts";
import { IMAGE_TABLE, nextState } from "../../model/states.ts";
import type { PackageContainer } from "../../store/containers.ts";
import type { Reason } from "../../store/history.ts";
import type { PackageImage } from "../../store/images.ts";
import type { Store } from "../../store/open-store.ts";
import { recordPackageChange } from "../../store/change-events.ts";
import type { Definition, PackageJson } from "./definitions.ts";
import { claimNames, requireFreeNames, requireFreePackageName } from "./require-free-names.ts";
import { containerJsonOf, requireReplicas } from "./require-replicas.ts";

export type RecordedFolder = { folder: string; imageId: string; containerId: string };

export type Recorded = {
  package: Package;
  /** In the order of the definitions. */
  folders: RecordedFolder[];
  /** Containers that were made by hand of its images, and are redefined with them. */
  followers: PackageContainer[];
  /** Containers of folders that the package no longer has. They are stopped; the caller removes them once this is durable. */
  removed: PackageContainer[];
  /** Where the files of its folders lay until now. */
  filesBefore: Map<string, string>;
};

/** `keepVersions`: how many earlier versions of the package stay in the store. `replicas`: what the driver has of them. */
type RecordDeps = { store: Store; environment: string; now: number; keepVersions: number; replicas: Driver["replicas"] };
/** A package whose version is being published; its row may not be there yet. */
type StagedPackage = { id: string; version: string };

/** `restores`: the number of the earlier version that it repeats. */
export type RecordedPackage = Pick<PackageJson, "name" | "version"> &
  Partial<Pick<PackageJson, "description">> & {
    restores?: number | undefined;
    isUnpublished?: boolean;
  };

/** Faults: NOT_PERMITTED for a package of an author whose packages this user may not manage. */
export async function refuseForeignAuthor(store: Store, name: string, user: Pick<User, "id" | "admin">): Promise<void> {
  const existing = await store.packages.byName(name);
  if (existing && !(await mayManageAuthor(store, { userId: user.id, admin: user.admin }, existing.authorId)))
    throw new Fault("NOT_PERMITTED", `The package ${name} has another author.`);
}

/**
 * Prepares some of a package's folders for `recordPackage`, which then neither reads nor writes JSON: with 500 folders that would block the event loop.
 * Call it for a few at a time, and clear the staging in the end. `filesOf` returns the place of the files.
 */
export async function stageFolders(
  { store, environment, now }: Pick<RecordDeps, "store" | "environment" | "now">,
  owner: StagedPackage,
  defined: readonly Definition[],
  filesOf: (definition: Definition) => string,
): Promise<void> {
  const folders = defined.map(({ folder }) => folder);
  const images = new Map((await store.images.ofFolders(owner.id, folders)).map(({ folder, id }) => [folder, id]));
  const containers = new Map((await store.containers.ofFolders(owner.id, folders)).map((container) => [container.folder, container]));
  for (const definition of defined) {
    const current = containers.get(definition.folder);
    const imageId = images.get(definition.folder) ?? randomUUID();
    const id = current?.id ?? containerIdOf(imageId);
    // Recording compares texts: what is the same is written the same, whatever the order of its keys.
    const { config, env } = definition.container;
    await store.staging.stage(newImage(owner, imageId, definition, filesOf(definition), now), {
      ...newContainer(environment, id, definition.name, config, now),
      config: current && isDeepStrictEqual(current.config, config) ? current.config : config,
      env: current && isDeepStrictEqual(current.env, env) ? current.env : env,
      imageId,
      packageId: owner.id,
      folder: definition.folder,
      name: definition.name,
      friendlyName: definition.name,
      updatedOn: now,
    });
  }
}

/**
 * Writes what a package says into the store, once all its folders are staged; call it in a transaction. Ids stay with (package, folder), also when it is published
 * again. A container whose definition changed gets a new generation; nothing is started here. Faults: NOT_PERMITTED, NAME_TAKEN, PACKAGE_INVALID where its
 * replicas are too many together.
 */
export async function recordPackage(
  deps: RecordDeps,
  json: RecordedPackage,
  user: Pick<User, "id" | "admin">,
  defined: readonly Definition[],
  newPackageId: string,
): Promise<Recorded> {
  const { store, now } = deps;
  await refuseForeignAuthor(store, json.name, user);
  const before = await store.packages.byName(json.name);
  const owner = await recordPackageRow(deps, json, user.id, newPackageId);
  const images = await imagesBefore(store, owner, user, defined);
  const leaving = await store.images.ofOtherFolders(
    owner.id,
    defined.map(({ folder }) => folder),
  );
  await store.packageVersions.begin(
    { packageId: owner.id, version: json.version, byUser: user.id, restores: json.restores },
    { before, keep: deps.keepVersions, now },
  );
  const containers = new Map((await store.containers.byPackage(owner.id)).map((container) => [container.folder, container]));
  await requireFreeNames(store, owner, defined, containers);
  const folders = await identifyStaged(deps, owner, images, containers);
  const existing = [...images.values()].map(({ id }) => id);
  await store.staging.record(owner.id, existing, { at: now, event: "validationWished", byUser: user.id });
  await claimNames(store, owner, defined, now);
  await removeImages(store, leaving, { at: now, event: "removed", byUser: user.id });
  const ofFolders = new Set(folders.map(({ folder }) => folder));
  const ofImages = new Set(folders.map(({ imageId }) => imageId));
  const others = [...containers.values()].filter(({ folder }) => !ofFolders.has(folder));
  const { followers = [], removed = [] } = Object.groupBy(others, (one) => (isFollower(one) && ofImages.has(one.imageId) ? "followers" : "removed"));
  await requireAllReplicas(deps, owner, defined, followers);
  await store.containers.stopAll(
    removed.map(({ id }) => id),
    now,
  );
  const { restores, isUnpublished = false } = json;
  await recordPackageChange(store, owner, { by: user, containers: defined.map(({ name }) => name), restores, isUnpublished, at: now });
  const filesBefore = new Map([...images.values(), ...leaving].map(({ folder, files }) => [folder, files]));
  return { package: owner, folders, followers, removed, filesBefore };
}

/** Also of an earlier version, which the server's driver may not have been able to run, and with the containers that were made by hand. Faults: PACKAGE_INVALID. */
async function requireAllReplicas(
  { store, replicas }: RecordDeps,
  owner: Package,
  defined: readonly Definition[],
  followers: readonly PackageContainer[],
): Promise<void> {
  const ids = new Set(followers.map(({ id }) => id));
  const byHand = ids.size === 0 ? [] : (await store.containers.replicatedOf(owner.id)).filter(({ id }) => ids.has(id));
  const ofFolders = defined.map(({ folder, container: { config } }) => ({ at: containerJsonOf(folder), config }));
  requireReplicas([...ofFolders, ...byHand.map(({ name, config }) => ({ at: name, config }))], replicas);
}

/** By folder. Imported ones are taken into the package first. */
async function imagesBefore(
  store: Store,
  owner: Package,
  user: Pick<User, "id" | "admin">,
  defined: readonly Definition[],
): Promise<Map<string, PackageImage>> {
  const folders = defined.map(({ folder }) => folder);
  const read = async () => new Map((await store.images.ofFolders(owner.id, folders)).map((image) => [image.folder, image]));
  const before = await read();
  const fresh = defined.filter(({ folder }) => !before.has(folder));
  return (await claimImported(store, user, owner.id, fresh)) ? read() : before;
}

/** A folder of `dockerfiles/` has no `/` in its name, so a publish never takes this one. */
export function followerFolder(image: Pick<Image, "folder">, id: string): string {
  return `${image.folder}/${id}`;
}

/** It was made by hand of a package's image. */
export function isFollower({ folder }: Pick<Container, "folder">): boolean {
  return folder.includes("/");
}

async function recordPackageRow({ store, now }: RecordDeps, json: RecordedPackage, authorId: string, newId: string): Promise<Package> {
  const existing = await store.packages.byName(json.name);
  if (existing) return (await store.packages.update(existing.id, { version: json.version, updatedOn: now })) ?? existing;
  await requireFreePackageName(store, json.name, authorId);
  return store.packages.insert({ id: newId, name: json.name, version: json.version, authorId, createdOn: now, updatedOn: now });
}

function newImage(owner: StagedPackage, id: string, definition: Definition, files: string, now: number): Image {
  const { folder, image, ref, dockerfile, dockerfilePath, mutable, contentHash, warnings } = definition;
  const of = { id, packageId: owner.id, folder, name: image, friendlyName: image, description: "", version: owner.version };
  const text = { ref, dockerfile, dockerfilePath, files, mutable, contentHash, warnings };
  const fresh = { state: "PENDING_VALIDATION", fault: undefined, resolvedId: undefined, digest: undefined, logs: "" } as const;
  return { ...of, ...text, ...fresh, exposed: [], command: [], healthcheck: undefined, since: now, createdOn: now, updatedOn: now };
}

/** A folder may have come to its rows since it was staged: from an import. */
async function identifyStaged(
  { store, environment }: Pick<RecordDeps, "store" | "environment">,
  owner: Package,
  images: ReadonlyMap<string, PackageImage>,
  containers: ReadonlyMap<string, PackageContainer>,
): Promise<RecordedFolder[]> {
  const folders: RecordedFolder[] = [];
  for (const { folder, name, ...staged } of await store.staging.of(owner.id)) {
    const imageId = images.get(folder)?.id ?? staged.imageId;
    const containerId = containers.get(folder)?.id ?? containerIdOf(imageId);
    if (imageId !== staged.imageId || containerId !== staged.containerId)
      await store.staging.setIds(owner.id, folder, { imageId, containerId, service: serviceName(environment, name, containerId) });
    folders.push({ folder, imageId, containerId });
  }
  return folders;
}

async function removeImages(store: Store, images: readonly PackageImage[], reason: Reason): Promise<void> {
  const left = images.filter(({ state }) => nextState(IMAGE_TABLE, state, "removed") === "DELETED").map(({ id }) => id);
  await store.images.removeAll(left, reason.at, reason);
}

/**
 * A server does not tell which package its images and containers are of. Until that is published here they are in one of this name, which no package can
 * have: it would otherwise be published over.
 */
export function importedPackageName(login: string): string {
  return `imported (${login})`;
}

function isImportedPackage({ name }: Pick<Package, "name">): boolean {
  return /^imported \(.+\)$/.test(name);
}

/**
 * Takes imported images of these names, with their containers, into the package that publishes them, so that their ids stay; call it in a transaction. They have
 * to be of packages that the user may manage. A few statements, however many there are. False where there are none.
 */
async function claimImported(
  store: Store,
  user: Pick<User, "id" | "admin">,
  packageId: string,
  wanted: readonly Pick<Definition, "image" | "folder">[],
): Promise<boolean> {
  const names = wanted.map(({ image }) => image);
  const claimable: string[] = [];
  for (const [id, images] of Map.groupBy(await store.images.named(names, packageId), (image) => image.packageId)) {
    const holder = await store.packages.find(id);
    if (holder === undefined || !isImportedPackage(holder)) continue;
    if (await mayManageAuthor(store, { userId: user.id, admin: user.admin }, holder.authorId)) claimable.push(...images.map((image) => image.id));
  }
  if (claimable.length === 0) return false;
  const images = (await store.images.some(claimable)).filter(({ state }) => state !== "DELETED");
  const containersOf = Map.groupBy(await store.containers.ofImages(claimable), ({ imageId }) => imageId);
  const count = ({ id }: Image) => containersOf.get(id)?.length ?? 0;
  const byName = Map.groupBy(images, ({ name }) => name.toLowerCase());
  const claimed: Record<string, string> = {};
  const containers: Record<string, string> = {};
  for (const { image, folder } of wanted) {
    const [best] = (byName.get(image.toLowerCase()) ?? []).toSorted((one, other) => count(other) - count(one) || other.createdOn - one.createdOn);
    if (best === undefined) continue;
    claimed[best.id] = folder;
    for (const one of containersOf.get(best.id) ?? []) containers[one.id] = one.folder === best.folder ? folder : `${folder}/${one.id}`;
  }
  await store.containers.moveToPackage(packageId, containers);
  await store.images.moveToPackage(packageId, claimed);
  return Object.keys(claimed).length > 0;
}

/**
 * A container's id follows from its image's, whose row stays when its folder leaves the package: a folder that comes back has its container
 * under the id that plugins may have kept. A UUID of version 8, which is what RFC 9562 calls one made in a way of one's own.
 */
function containerIdOf(imageId: string): string {
  const bytes = hash("sha256", `container of ${imageId}`, "buffer").subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
