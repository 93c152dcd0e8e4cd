import type { Store } from "../store/open-store.ts";
import { IMAGE_ACTIONS } from "./audited.ts";
import type { Push } from "./registry.ts";

/** Older pushes of one repository are not looked for. */
const MOST_PUSHES = 1_000;

/** Who last pushed each tag of a repository, and when, as far as the audit log goes back: by the tag. */
export function pushesOf(store: Pick<Store, "audit">, repository: string): Map<string, Push> {
  const pushes = new Map<string, Push>();
  for (const { target, login, at } of store.audit.list({ action: IMAGE_ACTIONS.pushed, target: `${repository}:`, limit: MOST_PUSHES })) {
    if (target?.startsWith(`${repository}:`) !== true) continue;
    const tag = target.slice(repository.length + 1);
    if (!pushes.has(tag)) pushes.set(tag, { by: login, at });
  }
  return pushes;
}
