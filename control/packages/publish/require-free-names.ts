import { Fault } from "../../../lib/fault.ts";
import { nameKey, imageName, imageRepository, unscoped } from "../../model/names.ts";
import { mayManageAuthor, claimImages, imageOfRef, mayUseImage, repositoryOwner } from "../../identity/rights.ts";
import type { Package } from "../../model/entities.ts";
import type { PackageContainer } from "../../store/containers.ts";
import type { Store } from "../../store/open-store.ts";
import type { OwnedRepository } from "../../model/records.ts";
import type { Definition } from "./definitions.ts";

/**
 * Names that a package may not have: images of another author's package, and names of other packages' containers, of any author. Plugins find
 * containers by name and send their users' tokens along. What another author's package had first stays that author's, also where an earlier version of
 * berth let both have it. All are looked up in a few queries; only names that another author has are checked one by one. Faults: NAME_TAKEN.
 */
export async function requireFreeNames(
  store: Store,
  owner: Package,
  definitions: readonly Definition[],
  known: ReadonlyMap<string, Pick<PackageContainer, "name" | "createdOn">>,
): Promise<void> {
  const author = { id: owner.authorId, admin: false };
  const keys = definitions.map(({ image }) => nameKey(image));
  const isOwn = ({ packageId, userId }: OwnedRepository) => (packageId === undefined ? userId === owner.authorId : packageId === owner.id);
  const foreign = new Set((await store.repositories.some(keys)).flatMap((one) => (isOwn(one) ? [] : one.key)));
  const names = definitions.map(({ name }) => name);
  const others = (await store.containers.named(names, owner.id)).map(({ id }) => id);
  const byName = Map.groupBy(await store.containers.some(others), ({ name }) => name.toLowerCase());
  for (const [index, { image, name, folder }] of definitions.entries()) {
    if (foreign.has(keys[index] ?? "") && !(await mayUseImage(store, author, image))) {
      const { packageName, userId } = (await repositoryOwner(store, image)) as { packageName: string | undefined; userId: string };
      const holder =
        packageName === undefined ? `the user ${(await store.users.find(userId))?.login}, who pushed to it first` : `the package ${packageName}`;
      throw taken(`The image ${imageRepository(image)} of ${where(folder)} belongs to ${holder}.`);
    }
    for (const other of byName.get(name.toLowerCase()) ?? []) {
      const holder = await store.packages.find(other.packageId);
      const isForeign = holder !== undefined && !(await mayManageAuthor(store, { userId: owner.authorId, admin: false }, holder.authorId));
      const mine = known.get(folder);
      const hadItFirst = mine?.name === name && (!isForeign || mine.createdOn <= other.createdOn);
      if (!hadItFirst) throw taken(`The container name ${name} of ${where(folder)} is taken by a container of the package ${holder?.name}.`);
    }
  }
}

/** Call it with what was published, in the same transaction. */
export async function claimNames(store: Store, owner: Package, definitions: readonly Definition[], now: number): Promise<void> {
  const refs = definitions.flatMap(({ ref }) => imageOfRef(ref) ?? []);
  const images = [...definitions.map(({ image }) => image), imageName(owner.name, ""), ...refs];
  await claimImages(store, images, owner.id, now);
}

/** Another author's package of nearly the same name would be taken for this one. Faults: NAME_TAKEN. */
export async function requireFreePackageName(store: Store, name: string, authorId: string): Promise<void> {
  const scoped = (text: string) => text.split("/").map(nameKey).join("/");
  const key = scoped(name);
  const twin = (await store.packages.all()).find((other) => scoped(other.name) === key);
  if (twin && !(await mayManageAuthor(store, { userId: authorId, admin: false }, twin.authorId)))
    throw taken(`The package name ${name} differs from ${twin.name}, which another author published, only in case and separators.`);
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * A name or friendly name that a user gives to a container of this package. Users and programs find containers by both: neither may be the name of
 * another author's container, image or package, nor have the form of an id. Faults: REQUEST_INVALID, NAME_TAKEN.
 */
export async function requireFreeName(store: Store, packageId: string, name: string): Promise<void> {
  if (UUID.test(name)) throw new Fault("REQUEST_INVALID", `${name} has the form of an id: choose another name.`);
  const key = nameKey(name);
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  const packages = await store.packages.all();
  const authorOf = (id: string) => packages.find((one) => one.id === id)?.authorId;
  const owners = [
    key === "" ? undefined : (await repositoryOwner(store, name))?.userId,
    ...(await store.containers.some(await store.containers.ids({ where }))).map((container) => authorOf(container.packageId)),
    ...packages.filter((one) => nameKey(one.name) === key || nameKey(unscoped(one.name)) === key).map(({ authorId }) => authorId),
  ];
  const author = { userId: authorOf(packageId) ?? "", admin: false };
  for (const owner of new Set(owners)) {
    if (owner === undefined || (await mayManageAuthor(store, author, owner))) continue;
    throw new Fault("NAME_TAKEN", `The name ${JSON.stringify(name)} belongs to another author: choose another name.`);
  }
}

function taken(sentence: string): Fault {
  return new Fault("NAME_TAKEN", `${sentence} Rename the package or the folder.`);
}

function where(folder: string): string {
  return ["dockerfiles", folder].filter((part) => part !== "").join("/");
}
