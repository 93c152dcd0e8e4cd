import { Fault } from "../../lib/fault.ts";
import type { WhoAnswer } from "../../gateway/contract.ts";
import { mayManageOf } from "../identity/may-manage.ts";
import type { Store } from "../store/open-store.ts";

/** Whether someone may start, stop and look into what a package runs: its author, the author's groups, and admins. */
export function mayManage(store: Store, caller: Pick<WhoAnswer, "userId" | "admin">, packageId: string): boolean {
  if (caller.admin) return true;
  const authorId = store.packages.find(packageId)?.authorId;
  return authorId !== undefined && mayManageOf(store, caller, authorId);
}

/** The same for many things of a few packages, each of which is looked up once. */
export function managedBy(store: Store, caller: Pick<WhoAnswer, "userId" | "admin">): (packageId: string) => boolean {
  const known = new Map<string, boolean>();
  return (packageId) => {
    const may = known.get(packageId) ?? mayManage(store, caller, packageId);
    known.set(packageId, may);
    return may;
  };
}

/** Faults: NOT_PERMITTED. */
export function requireManage(store: Store, caller: Pick<WhoAnswer, "userId" | "admin">, packageId: string): void {
  if (mayManage(store, caller, packageId)) return;
  throw new Fault("NOT_PERMITTED", "Only the package's author, who shares a group with the author, and administrators may do this.");
}

/** The same of somebody who was let in a while ago: rights may have been taken away since. */
export function mayStillManage(store: Store, { userId, admin }: Pick<WhoAnswer, "userId" | "admin">, packageId: string): boolean {
  const user = store.users.find(userId);
  return user !== undefined && mayManage(store, { userId, admin: admin && user.admin }, packageId);
}
