import { mayManageAuthor } from "../../identity/rights.ts";
import type { Image, Package, User } from "../../model/entities.ts";
import type { Store } from "../../store/open-store.ts";

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

/** Which of these names are of images that `claimImported` may find. */
export async function importedAmong(store: Store, names: readonly string[], packageId: string): Promise<Set<string>> {
  const imported = new Set<string>();
  for (const [id, images] of Map.groupBy(store.images.named(names, packageId), (image) => image.packageId)) {
    if (!isImportedPackage((await store.packages.find(id)) ?? { name: "" })) continue;
    for (const { name } of images) imported.add(name.toLowerCase());
  }
  return imported;
}

/**
 * Takes an imported image of this name, with its containers, into the package that publishes it, so that their ids stay; call it in a transaction. It has
 * to be one that the user may manage.
 */
export async function claimImported(
  store: Store,
  name: string,
  user: Pick<User, "id" | "admin">,
  into: { packageId: string; folder: string },
): Promise<void> {
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  const mine: Image[] = [];
  for (const image of store.images.some(store.images.ids({ where }))) if (await isMine(store, image, user)) mine.push(image);
  const containers = (image: Image) => store.containers.byImage(image.id);
  const [best] = mine.toSorted((one, other) => containers(other).length - containers(one).length || other.createdOn - one.createdOn);
  if (best === undefined) return;
  for (const { id, folder } of containers(best))
    store.containers.update(id, { packageId: into.packageId, folder: folder === best.folder ? into.folder : `${into.folder}/${id}` });
  store.images.update(best.id, into);
}

async function isMine(store: Store, { packageId, state }: Image, user: Pick<User, "id" | "admin">): Promise<boolean> {
  const holder = await store.packages.find(packageId);
  if (state === "DELETED" || holder === undefined || !isImportedPackage(holder)) return false;
  return mayManageAuthor(store, { userId: user.id, admin: user.admin }, holder.authorId);
}
