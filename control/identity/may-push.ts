import type { User } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { claimImage, imageOfRepository, mayUseImage } from "./repository-owner.ts";

type PushStore = Pick<Store, "repositories" | "packages" | "groups" | "users">;

/**
 * Whether a user may push to a repository: one below `datagrok/` that the user, somebody in a group with the user, or nobody owns. An image is pushed
 * before its package is published, so what nobody owns is free. Administrators push anywhere.
 */
export function mayPush(store: PushStore, user: Pick<User, "id" | "admin">, repository: string): boolean {
  if (user.admin) return true;
  const image = imageOfRepository(repository);
  return image !== undefined && mayUseImage(store, user, image);
}

/** A repository that nobody owned belongs to the user who pushed to it. */
export function claimPushed(store: PushStore, login: string | undefined, repository: string, now: number): void {
  const user = login === undefined ? undefined : store.users.byLogin(login);
  const image = imageOfRepository(repository);
  if (user && image !== undefined) claimImage(store, image, { userId: user.id }, now);
}
