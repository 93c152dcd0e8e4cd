import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { Fault } from "../../../lib/fault.ts";
import { claimImported, importedAmong } from "../import/imported-package.ts";
import { mayManageAuthor } from "../../identity/rights.ts";
import { IMAGE_TABLE, nextState } from "../../model/states.ts";
import type { Container, Image, Package, User } from "../../model/entities.ts";
import type { LeavingImage } from "../../store/images.ts";
import type { Store } from "../../store/open-store.ts";
import { containerIdOf } from "./container-id.ts";
import type { Definition } from "./definitions.ts";
import { newContainer } from "./new-container.ts";
import type { PackageJson } from "./package-json.ts";
import { claimNames, requireFreeNames, requireFreePackageName } from "./require-free-names.ts";

export type Recorded = {
  package: Package;
  images: Image[];
  containers: Container[];
  /** Others that run its images: made by hand, and redefined with them. */
  followers: Container[];
  /** Of folders that the package no longer has: wished to rest, and for the caller to have removed once this is durable. */
  removed: Container[];
  /** Where the files of its folders lay until now. */
  filesBefore: Map<string, string>;
};

type Rooms = { store: Store; environment: string; now: number };
/** `byUser` is told in the images' histories. */
type Publishing = Rooms & { byUser: string };

/** Faults: NOT_PERMITTED for a package of an author whose packages this user may not manage. */
export function refuseForeignAuthor(store: Store, name: string, user: Pick<User, "id" | "admin">): void {
  const known = store.packages.byName(name);
  if (known && !mayManageAuthor(store, { userId: user.id, admin: user.admin }, known.authorId))
    throw new Fault("NOT_PERMITTED", `The package ${name} has another author.`);
}

/**
 * Writes what a package says into the store; call it in a transaction. Ids stay with (package, folder), also when it is published again. A container
 * whose definition changed gets a new generation; nothing is started here. `filesOf` tells where the files lie. Faults: NOT_PERMITTED, NAME_TAKEN.
 */
export function recordPackage(
  rooms: Rooms,
  json: PackageJson,
  user: Pick<User, "id" | "admin">,
  defined: readonly Definition[],
  filesOf: (packageId: string, definition: Definition) => string,
  newPackageId: string = randomUUID(),
): Recorded {
  refuseForeignAuthor(rooms.store, json.name, user);
  const owner = recordPackageRow(rooms, json, user.id, newPackageId);
  const { store } = rooms;
  const images = imagesBefore(store, owner, user, defined);
  const leaving = store.images.ofOtherFolders(
    owner.id,
    defined.map(({ folder }) => folder),
  );
  const containers = new Map(store.containers.byPackage(owner.id).map((container) => [container.folder, container]));
  const followers = Map.groupBy([...containers.values()].filter(isFollower), ({ imageId }) => imageId);
  requireFreeNames(store, owner, defined, containers);
  const recorded: Recorded = { package: owner, images: [], containers: [], followers: [], removed: [], filesBefore: new Map() };
  for (const { folder, files } of [...images.values(), ...leaving]) recorded.filesBefore.set(folder, files);
  const fresh: Container[] = [];
  for (const definition of defined) {
    const known = images.get(definition.folder);
    const image = recordImage({ ...rooms, byUser: user.id }, owner, definition, filesOf(owner.id, definition), known);
    recorded.images.push(image);
    const changed = known === undefined || known.ref !== image.ref || known.files !== image.files;
    const container = recordContainer(rooms, owner, definition, image, changed, containers.get(definition.folder));
    if (!containers.has(definition.folder)) fresh.push(container);
    recorded.containers.push(container);
    for (const follower of followers.get(image.id) ?? []) {
      recorded.followers.push(changed ? redefined(rooms, follower) : follower);
      containers.delete(follower.folder);
    }
    containers.delete(definition.folder);
  }
  const inserted = new Map(stopLeftovers(store, fresh).map((container) => [container.id, container]));
  store.containers.insertAll([...inserted.values()]);
  recorded.containers = recorded.containers.map((container) => inserted.get(container.id) ?? container);
  claimNames(rooms.store, owner, defined, rooms.now);
  removeImages({ ...rooms, byUser: user.id }, leaving);
  recorded.removed.push(...containers.values());
  store.containers.stopAll(
    recorded.removed.map(({ id }) => id),
    rooms.now,
  );
  return recorded;
}

/** By folder. Imported ones are taken into the package first. */
function imagesBefore(store: Store, owner: Package, user: Pick<User, "id" | "admin">, defined: readonly Definition[]): Map<string, Image> {
  const folders = defined.map(({ folder }) => folder);
  const read = () => new Map(store.images.ofFolders(owner.id, folders).map((image) => [image.folder, image]));
  const known = read();
  const fresh = defined.filter(({ folder }) => !known.has(folder));
  const imported = importedAmong(
    store,
    fresh.map(({ image }) => image),
    owner.id,
  );
  const claimed = fresh.filter(({ image }) => imported.has(image.toLowerCase()));
  for (const { image, folder } of claimed) claimImported(store, image, user, { packageId: owner.id, folder });
  return claimed.length === 0 ? known : read();
}

/** A folder of `dockerfiles/` has no `/` in its name, so this one is nobody's and stays apart. */
export function followerFolder(image: Pick<Image, "folder">, id: string): string {
  return `${image.folder}/${id}`;
}

function isFollower({ folder }: Container): boolean {
  return folder.includes("/");
}

function redefined({ store, now }: Rooms, { id, generation }: Container): Container {
  return store.containers.update(id, { generation: generation + 1, attempts: 0, notBefore: 0, updatedOn: now }) as Container;
}

function recordPackageRow({ store, now }: Rooms, json: PackageJson, authorId: string, newId: string): Package {
  const known = store.packages.byName(json.name);
  if (known) return store.packages.update(known.id, { version: json.version, updatedOn: now }) ?? known;
  requireFreePackageName(store, json.name, authorId);
  return store.packages.insert({ id: newId, name: json.name, version: json.version, authorId, createdOn: now, updatedOn: now });
}

function recordImage({ store, now, byUser }: Publishing, owner: Package, definition: Definition, files: string, known: Image | undefined): Image {
  const said = {
    name: definition.image,
    friendlyName: definition.image,
    version: owner.version,
    ref: definition.ref,
    dockerfile: definition.dockerfile,
    dockerfilePath: definition.dockerfilePath,
    files,
    mutable: definition.mutable,
    contentHash: definition.contentHash,
    warnings: definition.warnings,
    updatedOn: now,
  };
  // A tag may have moved, so every publish validates again, even where nothing else changed.
  const fresh = { since: now, fault: undefined, logs: "" };
  if (known) {
    const state = nextState(IMAGE_TABLE, known.state, "validationWished") ?? known.state;
    const resolved = known.ref === definition.ref ? {} : { resolvedId: undefined, digest: undefined, exposed: [] };
    const patch = { ...rewritten(said, known, "name"), ...fresh, ...resolved };
    return store.images.republish(known, { ...patch, state }, { at: now, event: "validationWished", byUser });
  }
  const ids = { id: randomUUID(), packageId: owner.id, folder: definition.folder };
  return store.images.insert({
    ...ids,
    ...said,
    ...fresh,
    description: "",
    state: "PENDING_VALIDATION",
    resolvedId: undefined,
    digest: undefined,
    exposed: [],
    createdOn: now,
  });
}

/** A new one is inserted with all others. */
function recordContainer(
  { store, environment, now }: Rooms,
  owner: Package,
  { folder, name, container: { config, env } }: Definition,
  image: Image,
  imageChanged: boolean,
  known: Container | undefined,
): Container {
  const said = { name, friendlyName: name, imageId: image.id, config, env, updatedOn: now };
  if (known) {
    const changed = imageChanged || !isDeepStrictEqual([known.config, known.env], [config, env]);
    // A new definition owes nothing to the failures of the old one.
    const redefined = changed ? { generation: known.generation + 1, attempts: 0, notBefore: 0 } : {};
    return store.containers.redefine(known, { ...rewritten(rewritten(said, known, "name"), known, "imageId"), ...redefined });
  }
  return { ...newContainer(environment, containerIdOf(image.id), name, config, now), ...said, packageId: owner.id, folder };
}

/** What ran under such an id before it was removed may still run, and is not what is defined now: it goes first. */
function stopLeftovers(store: Store, containers: readonly Container[]): Container[] {
  const tombstones = store.tombstones.some(containers.map(({ id }) => id));
  const open = new Set(tombstones.flatMap(({ id, clearedOn }) => (clearedOn === undefined ? id : [])));
  return containers.map((container) => (open.has(container.id) ? { ...container, state: "STOPPING" } : container));
}

/** Without a field that stays as it is: SQLite would write its index anew. */
function rewritten<P extends object, K extends keyof P>(patch: P, known: Pick<P, K>, field: K): Omit<P, K> | P {
  if (patch[field] !== known[field]) return patch;
  const { [field]: _same, ...rest } = patch;
  return rest;
}

function removeImages({ store, now, byUser }: Publishing, images: readonly LeavingImage[]): void {
  const left = images.filter(({ state }) => nextState(IMAGE_TABLE, state, "removed") === "DELETED").map(({ id }) => id);
  store.images.removeAll(left, now, { at: now, event: "removed", byUser });
}
