import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { Fault } from "../../fault.ts";
import { claimImported } from "../import/imported-package.ts";
import { mayManageOf } from "../identity/may-manage.ts";
import { IMAGE_TABLE } from "../lifecycle/image-states.ts";
import { next } from "../lifecycle/table.ts";
import type { Container, Image, Package, User } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
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
};

type Rooms = { store: Store; environment: string; now: number };
/** `byUser` is told in the images' histories. */
type Publishing = Rooms & { byUser: string };

/** Faults: NOT_PERMITTED for a package of an author whose packages this user may not manage. */
export function refuseForeignAuthor(store: Store, name: string, user: Pick<User, "id" | "admin">): void {
  const known = store.packages.byName(name);
  if (known && !mayManageOf(store, { userId: user.id, admin: user.admin }, known.authorId))
    throw new Fault("NOT_PERMITTED", `The package ${name} has another author.`);
}

/**
 * Writes what a package says into the store; call it in a transaction. Ids stay with (package, folder), also when it is published again. A container
 * whose definition changed gets a new generation; nothing is started here. Faults: NOT_PERMITTED, NAME_TAKEN.
 */
export function recordPackage(
  rooms: Rooms,
  json: PackageJson,
  user: Pick<User, "id" | "admin">,
  defined: readonly Definition[],
  place: (packageId: string, definition: Definition) => string,
): Recorded {
  refuseForeignAuthor(rooms.store, json.name, user);
  const owner = recordPackageRow(rooms, json, user.id);
  const known = new Set(rooms.store.images.byPackage(owner.id).map(({ folder }) => folder));
  for (const { image, folder } of defined) if (!known.has(folder)) claimImported(rooms.store, image, user, { packageId: owner.id, folder });
  const images = new Map(rooms.store.images.byPackage(owner.id).map((image) => [image.folder, image]));
  const containers = new Map(rooms.store.containers.byPackage(owner.id).map((container) => [container.folder, container]));
  const recorded: Recorded = { package: owner, images: [], containers: [], followers: [], removed: [] };
  for (const definition of defined) {
    const before = images.get(definition.folder);
    requireFreeNames(rooms.store, owner, definition, containers.get(definition.folder));
    const image = recordImage({ ...rooms, byUser: user.id }, owner, definition, place(owner.id, definition), before);
    recorded.images.push(image);
    const changed = before === undefined || before.ref !== image.ref || before.files !== image.files;
    recorded.containers.push(recordContainer(rooms, owner, definition, image, changed, containers.get(definition.folder)));
    for (const follower of containers.values()) {
      if (!isFollower(follower) || follower.imageId !== image.id) continue;
      recorded.followers.push(changed ? redefined(rooms, follower) : follower);
      containers.delete(follower.folder);
    }
    images.delete(definition.folder);
    containers.delete(definition.folder);
  }
  claimNames(rooms.store, owner, defined, rooms.now);
  for (const image of images.values()) removeImage({ ...rooms, byUser: user.id }, image);
  for (const container of containers.values()) {
    rooms.store.containers.update(container.id, { desiredInstances: 0, stopFor: "user", updatedOn: rooms.now });
    recorded.removed.push(container);
  }
  return recorded;
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

function recordPackageRow({ store, now }: Rooms, json: PackageJson, authorId: string): Package {
  const known = store.packages.byName(json.name);
  if (known) return store.packages.update(known.id, { version: json.version, updatedOn: now }) ?? known;
  requireFreePackageName(store, json.name, authorId);
  return store.packages.insert({ id: randomUUID(), name: json.name, version: json.version, authorId, createdOn: now, updatedOn: now });
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
    const state = next(IMAGE_TABLE, known.state, "validationWished") ?? known.state;
    const resolved = known.ref === definition.ref ? {} : { resolvedId: undefined, digest: undefined, exposed: [] };
    return (
      store.images.move(known.id, known.state, state, { ...said, ...fresh, ...resolved }, { at: now, event: "validationWished", byUser }) ?? known
    );
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
    return store.containers.update(known.id, { ...said, ...redefined }) ?? known;
  }
  const id = containerIdOf(image.id);
  // What ran under this id before it was removed may still run, and is not what is defined now: it goes first.
  const before = store.tombstones.find(id);
  const left = before !== undefined && before.clearedOn === undefined ? ({ state: "STOPPING" } as const) : {};
  return store.containers.insert({ ...newContainer(environment, id, name, config, now), ...left, ...said, packageId: owner.id, folder });
}

function removeImage({ store, now, byUser }: Publishing, image: Image): void {
  const state = next(IMAGE_TABLE, image.state, "removed");
  if (state) store.images.move(image.id, image.state, state, { since: now, updatedOn: now }, { at: now, event: "removed", byUser });
}
