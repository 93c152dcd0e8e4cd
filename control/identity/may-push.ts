import type { User } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { claimImage, imageOfRepository, mayUseImage } from "./rights.ts";

type PushStore = Pick<Store, "repositories" | "packages" | "groups" | "users">;

/**
 * Whether a user may push to a repository: one below `datagrok/` that the user or somebody in a group with the user owns, or that has no owner. An image is pushed
 * before its package is published, so a repository without an owner is free. Administrators push anywhere.
 */
export function mayPush(store: PushStore, user: Pick<User, "id" | "admin">, repository: string): boolean {
  if (user.admin) return true;
  const image = imageOfRepository(repository);
  return image !== undefined && mayUseImage(store, user, image);
}

/** A repository without an owner belongs to the user who pushed to it. */
export function claimPushed(store: PushStore, login: string | undefined, repository: string, now: number): void {
  const user = login === undefined ? undefined : store.users.byLogin(login);
  const image = imageOfRepository(repository);
  if (user && image !== undefined) claimImage(store, image, { userId: user.id }, now);
}
