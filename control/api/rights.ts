import { Fault } from "../../fault.ts";
import type { WhoAnswer } from "../../gateway/wire.ts";
import type { Store } from "../store/open-store.ts";

/** Whether someone may start, stop and look into what a package runs: its author, and admins. */
export function mayManage(store: Store, caller: Pick<WhoAnswer, "userId" | "admin">, packageId: string): boolean {
  return caller.admin || store.packages.find(packageId)?.authorId === caller.userId;
}

/** Faults: NOT_PERMITTED. */
export function requireManage(store: Store, caller: Pick<WhoAnswer, "userId" | "admin">, packageId: string): void {
  if (!mayManage(store, caller, packageId)) throw new Fault("NOT_PERMITTED", "Only the package's author and administrators may do this.");
}
