import { withoutRegistryHost, imageRepository, isRepositoryPart, nameKey } from "../model/names.ts";
import type { User } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { Fault } from "../../lib/fault.ts";
import type { CallerReply } from "../../gateway/contract.ts";

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
export async function repositoryOwner(store: OwnerStore, image: string): Promise<RepositoryOwner | undefined> {
  const owned = await store.repositories.find(nameKey(image));
  const owner = owned?.packageId === undefined ? undefined : await store.packages.find(owned.packageId);
  if (owner) return { userId: owner.authorId, packageName: owner.name };
  return owned?.userId === undefined ? undefined : { userId: owned.userId, packageName: undefined };
}

/** Whether packages of this user may have the image, and this user may push it: it has no owner, or one whose packages the user may manage. */
export async function mayUseImage(store: OwnerStore, user: Pick<User, "id" | "admin">, image: string): Promise<boolean> {
  const owner = await repositoryOwner(store, image);
  return owner === undefined || mayManageAuthor(store, { userId: user.id, admin: user.admin }, owner.userId);
}

/** The first owner stays. Call it in the transaction that stores what uses the image. */
export async function claimImage(
  store: Pick<Store, "repositories">,
  image: string,
  owner: { packageId: string } | { userId: string },
  now: number,
): Promise<void> {
  const key = nameKey(image);
  if (key === "") return;
  const ids = { packageId: undefined, userId: undefined, ...owner };
  await store.repositories.claim({ key, name: imageRepository(image), ...ids, since: now });
}

/** The same for all of a package, in one statement. */
export async function claimImages(store: Pick<Store, "repositories">, images: readonly string[], packageId: string, now: number): Promise<void> {
  const owned = images.map((image) => ({ key: nameKey(image), name: imageRepository(image) })).filter(({ key }) => key !== "");
  await store.repositories.claimAll(owned, packageId, now);
}

/** Its owner before may no longer use it. */
export async function assignImage(store: Pick<Store, "repositories">, image: string, userId: string, now: number): Promise<void> {
  await store.repositories.assign({ key: nameKey(image), name: imageRepository(image), packageId: undefined, userId, since: now });
}

type ManageStore = Pick<Store, "packages" | "groups">;

/** Whether someone may start, stop and look into what a package runs: its author, the author's groups, and admins. */
export async function mayManagePackage(store: ManageStore, caller: Pick<CallerReply, "userId" | "admin">, packageId: string): Promise<boolean> {
  if (caller.admin) return true;
  const author = await store.packages.find(packageId);
  return author !== undefined && mayManageAuthor(store, caller, author.authorId);
}

/** The same for many things of a few packages, each of which is looked up once. */
export function createManageCheck(store: ManageStore, caller: Pick<CallerReply, "userId" | "admin">): (packageId: string) => Promise<boolean> {
  const checked = new Map<string, Promise<boolean>>();
  return (packageId) => {
    const may = checked.get(packageId) ?? mayManagePackage(store, caller, packageId);
    checked.set(packageId, may);
    return may;
  };
}

/** Faults: NOT_PERMITTED. */
export async function requireManage(store: ManageStore, caller: Pick<CallerReply, "userId" | "admin">, packageId: string): Promise<void> {
  if (await mayManagePackage(store, caller, packageId)) return;
  throw new Fault("NOT_PERMITTED", "Only the package's author, the author's groups, and administrators may do this.");
}

/** The same for a caller who was authorized a while ago: the rights may have changed. */
export async function mayStillManage(
  store: ManageStore & Pick<Store, "users">,
  { userId, admin }: Pick<CallerReply, "userId" | "admin">,
  packageId: string,
): Promise<boolean> {
  const user = await store.users.find(userId);
  return user !== undefined && user.blockedOn === undefined && mayManagePackage(store, { userId, admin: admin && user.admin }, packageId);
}

type CallerIdentity = { userId: string; admin: boolean };

/** Whether someone may publish over, start, stop and look into what this author published: the author, who shares a group with the author, and admins. */
export async function mayManageAuthor(store: Pick<Store, "groups">, person: CallerIdentity, authorId: string): Promise<boolean> {
  return person.admin || person.userId === authorId || store.groups.shared(person.userId, authorId);
}

type PushStore = Pick<Store, "repositories" | "packages" | "groups" | "users">;

/**
 * Whether a user may push to a repository: one below `datagrok/` that the user or a user of the same group owns, or that has no owner. An image is pushed
 * before its package is published, so a repository without an owner is free. Administrators push anywhere.
 */
export async function mayPush(store: PushStore, user: Pick<User, "id" | "admin">, repository: string): Promise<boolean> {
  if (user.admin) return true;
  const image = imageOfRepository(repository);
  return image !== undefined && mayUseImage(store, user, image);
}

/** The package that owns a repository; undefined: a user does, or no one. */
export async function packageOfRepository(store: Pick<Store, "repositories">, repository: string): Promise<string | undefined> {
  const image = imageOfRepository(repository);
  return image === undefined ? undefined : (await store.repositories.find(nameKey(image)))?.packageId;
}

/**
 * Whether a user may still push: the repository may have got another owner since the user's token was issued. One without an owner belongs to the user from now
 * on, so that of two users with such tokens one pushes. Faults: NOT_PERMITTED.
 */
export async function requirePushRight(store: PushStore, login: string, repository: string, now: number): Promise<void> {
  const user = await store.users.byLogin(login);
  if (user === undefined || user.blockedOn !== undefined) throw new Fault("NOT_PERMITTED", `The user ${login} may no longer push.`);
  await claimPushed(store, login, repository, now);
  if (await mayPush(store, user, repository)) return;
  throw new Fault("NOT_PERMITTED", `${repository} belongs to another user: choose another name for the package or the folder.`);
}

/** A repository without an owner belongs to the user who pushed to it. */
export async function claimPushed(store: PushStore, login: string | undefined, repository: string, now: number): Promise<void> {
  const user = login === undefined ? undefined : await store.users.byLogin(login);
  const image = imageOfRepository(repository);
  if (user && image !== undefined) await claimImage(store, image, { userId: user.id }, now);
}
