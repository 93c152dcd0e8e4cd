import { withoutRegistryHost, imageRepository, isRepositoryPart } from "../model/names.ts";
import { nameKey } from "../packages/credentials/names.ts";
import type { User } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { mayManageOf } from "./may-manage.ts";

type OwnerStore = Pick<Store, "repositories" | "packages" | "groups" | "users">;

/** `userId` answers for it: the package's author, or who pushed to it first. */
export type RepositoryOwner = { userId: string; packageName: string | undefined };

/** The image's own name in `datagrok/<image>`; undefined for every other repository, which administrators alone push to. */
export function imageOfRepository(repository: string): string | undefined {
  const prefix = imageRepository("");
  const image = repository.slice(prefix.length);
  return repository.startsWith(prefix) && isRepositoryPart(image) ? image : undefined;
}

/** The image's own name in a reference such as `registry.example:5000/datagrok/<image>:1.0`, whatever the registry is called. */
export function imageOfRef(ref: string): string | undefined {
  const [, repository = ""] = /^([^:@]+)/.exec(withoutRegistryHost(ref)) ?? [];
  return imageOfRepository(repository);
}

/** Who owns `datagrok/<image>`; undefined: no owner. Names that differ only in case and separators have one owner. */
export function repositoryOwner(store: OwnerStore, image: string): RepositoryOwner | undefined {
  const owned = store.repositories.find(nameKey(image));
  const owner = owned?.packageId === undefined ? undefined : store.packages.find(owned.packageId);
  if (owner) return { userId: owner.authorId, packageName: owner.name };
  return owned?.userId === undefined ? undefined : { userId: owned.userId, packageName: undefined };
}

/** Whether packages of this user may have the image, and this user may push it: it has no owner, or one whose packages the user may manage. */
export function mayUseImage(store: OwnerStore, user: Pick<User, "id" | "admin">, image: string): boolean {
  const owner = repositoryOwner(store, image);
  return owner === undefined || mayManageOf(store, { userId: user.id, admin: user.admin }, owner.userId);
}

/** The first owner stays. Call it in the transaction that stores what uses the image. */
export function claimImage(store: Pick<Store, "repositories">, image: string, owner: { packageId: string } | { userId: string }, now: number): void {
  const key = nameKey(image);
  if (key === "") return;
  const ids = { packageId: undefined, userId: undefined, ...owner };
  store.repositories.claim({ key, name: imageRepository(image), ...ids, since: now });
}

/** Its owner before may no longer use it. */
export function assignImage(store: Pick<Store, "repositories">, image: string, userId: string, now: number): void {
  store.repositories.assign({ key: nameKey(image), name: imageRepository(image), packageId: undefined, userId, since: now });
}
