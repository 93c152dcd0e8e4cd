import type { RegistryAction, RepositoryAccess } from "../../../lib/registry-client/registry-client.ts";

const ORDER: readonly RegistryAction[] = ["pull", "push", "delete"];
const LONGEST = 1_024;
const SCOPE = /^[!-~]+$/;

/**
 * What a token must allow, as token servers read it: `repository:name:pull,push`. Without a repository: the catalogue where something is to be
 * done with it, else nothing. Who pushes reads too, as clients do to see what is there already.
 */
export function scopeOf({ repository, actions }: RepositoryAccess, nameOf: (repository: string) => string): string {
  if (repository === undefined) return actions.length === 0 ? "" : "registry:catalog:*";
  const wanted = ORDER.filter((action) => actions.includes(action) || (action === "pull" && actions.includes("push")));
  return `repository:${nameOf(repository)}:${wanted.join(",")}`;
}

/** Together with what the registry's challenge asked for, such as the repository that a blob is mounted from. */
export function withScopes(own: string, wanted: string | undefined): string {
  if (wanted === undefined || wanted.length > LONGEST) return own;
  const all = [own, ...wanted.split(" ").map(inOrder)].filter((scope) => SCOPE.test(scope));
  return [...new Set(all)].toSorted().join(" ");
}

/** Registries name actions in any order; the same wish shall not be another token, beside which the one that was refused stays in use. */
function inOrder(scope: string): string {
  const at = scope.lastIndexOf(":") + 1;
  const place = (action: string) => (ORDER as readonly string[]).indexOf(action);
  const actions = scope.slice(at).split(",");
  return scope.slice(0, at) + actions.toSorted((one, other) => place(one) - place(other)).join(",");
}
