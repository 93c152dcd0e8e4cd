import { imageName, imageRepository, isRepositoryPart } from "../publish/names.ts";
import type { User } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { mayManageOf } from "./may-manage.ts";

/**
 * Whether a user may push to a repository: any that a package of this user has or could have. A package owns the images it has, those it had
 * before (an older version may be published again), and the one with just its own name. An image is pushed before its package is published, so
 * what nobody owns is free.
 */
export function mayPush(store: Pick<Store, "images" | "packages" | "groups">, user: Pick<User, "id" | "admin">, repository: string): boolean {
  if (user.admin) return true;
  const image = repository.slice(imageRepository("").length);
  if (imageRepository(image) !== repository || !isRepositoryPart(image)) return false;
  const having = store.images.some(store.images.ids({ where: [{ columns: ["name"], holds: "is", value: image }] }));
  const owners = new Set(having.map(({ packageId }) => packageId));
  return store.packages
    .all()
    .filter(({ id, name }) => owners.has(id) || imageName(name, "") === image)
    .every(({ authorId }) => mayManageOf(store, { userId: user.id, admin: user.admin }, authorId));
}
