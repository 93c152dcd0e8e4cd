import { Fault } from "../../lib/fault.ts";
import type { Head } from "../decision.ts";
import { scopeOf, CATALOG_SCOPE, type RequiredAccess } from "./registry-responses.ts";
import type { RegistryAction } from "../../lib/registry-client/registry-client.ts";
import { allows, type TokenGrant, type VerifyToken } from "./verify-token.ts";

/** What a request needs: `open` where anybody may. */
export type AccessRequirement = { isPublic: boolean; repositories: readonly RequiredAccess[]; scope: string };

const PUSH: readonly RegistryAction[] = ["pull", "push"];
const ACTIONS: Readonly<Record<string, readonly RegistryAction[]>> = {
  GET: ["pull"],
  HEAD: ["pull"],
  POST: PUSH,
  PUT: PUSH,
  PATCH: PUSH,
  DELETE: ["delete"],
};

/** Who gives up an upload deletes nothing. */
const UPLOAD_ACTIONS: Readonly<Record<string, readonly RegistryAction[]>> = { ...ACTIONS, DELETE: PUSH };

/** What our own credential has to allow: of an upload that only asks how far it is as much as of one that goes on. */
export function upstreamActions(path: V2Path, method: string): readonly RegistryAction[] {
  return path.kind === "upload" ? PUSH : actionsOf(path, method);
}

/** What is done with a repository by a request. Faults: METHOD_NOT_ALLOWED. */
export function actionsOf({ kind }: V2Path, method: string): readonly RegistryAction[] {
  const actions = (kind === "upload" ? UPLOAD_ACTIONS : ACTIONS)[method];
  if (actions === undefined) throw new Fault("METHOD_NOT_ALLOWED", `A registry knows no ${method}`);
  return actions;
}

/** Faults: METHOD_NOT_ALLOWED, REQUEST_INVALID. */
export function accessRequirement(path: V2Path, method: string, query: string, anonymousPull: boolean): AccessRequirement {
  if (path.kind === "base") return { isPublic: false, repositories: [], scope: "" };
  if (path.kind === "catalog") return { isPublic: false, repositories: [], scope: CATALOG_SCOPE };
  const actions = actionsOf(path, method);
  const own: RequiredAccess = { repository: path.repository, actions };
  const from = path.kind === "uploads" ? mountedFrom(query) : undefined;
  const of = from === undefined ? [own] : [own, { repository: from, actions: ["pull"] } satisfies RequiredAccess];
  const reads = method === "GET" || method === "HEAD";
  return { isPublic: reads && anonymousPull, repositories: of, scope: of.map(scopeOf).join(" ") };
}

/** The repository that a layer is taken over from. What two readers could read in two ways is refused. Faults: REQUEST_INVALID. */
export function mountedFrom(query: string): string | undefined {
  const from = new URLSearchParams(query).getAll("from");
  const [first] = from;
  if (first === undefined && !query.includes(";")) return undefined;
  if (first === undefined || from.length > 1 || query.includes(";") || !isRepository(first))
    throw new Fault("REQUEST_INVALID", "The repository to mount a layer from is not one name");
  return first;
}

/**
 * What the request's token grants, undefined where none is needed; a promise where that takes asking. Faults: TOKEN_MISSING, TOKEN_INVALID,
 * SCOPE_INSUFFICIENT, and those of verifying. With `deletesAreNamed` only a token that names them allows deletes.
 */
export function authorize(
  head: Head,
  needs: AccessRequirement,
  verify: VerifyToken,
  deletesAreNamed: boolean,
): TokenGrant | undefined | Promise<TokenGrant> {
  if (needs.isPublic) return undefined;
  const token = bearer(head.header("authorization"));
  const check = (granted: TokenGrant) => {
    for (const { repository, actions } of needs.repositories) {
      // Whoever may push may read what is there, whether or not that was asked for.
      const wanted = actions.includes("push") ? (["push"] as const) : actions;
      // What a token says nothing of is allowed, but not that: it may be a mere user's.
      const unnamed = (action: RegistryAction) => deletesAreNamed && action === "delete" && granted.access === undefined;
      const missing = wanted.find((action) => unnamed(action) || !allows(granted, repository, action));
      if (missing !== undefined) throw new Fault("SCOPE_INSUFFICIENT", `You may not ${ACTION_TEXTS[missing]} ${repository}`);
    }
    return granted;
  };
  const granted = verify(token);
  return granted instanceof Promise ? granted.then(check) : check(granted);
}

const ACTION_TEXTS: Record<RegistryAction, string> = { pull: "pull", push: "push to", delete: "delete from" };

/** Faults: TOKEN_MISSING, TOKEN_INVALID. */
function bearer(authorization: string | undefined): string {
  if (authorization === undefined) throw new Fault("TOKEN_MISSING", "Sign in first: docker login, with a developer key as the password");
  const [, token] = /^bearer +([^\s,]+)$/i.exec(authorization) ?? [];
  if (token === undefined) throw new Fault("TOKEN_INVALID", "Only a token of this registry is taken here");
  return token;
}

/** What of the registry a request is for; `reference` is a tag, a digest or the name of an upload, byte for byte. */
export type V2Path =
  | { kind: "base" }
  | { kind: "catalog" }
  | { kind: "manifest" | "blob" | "upload" | "referrers"; repository: string; reference: string; tail: string }
  | { kind: "uploads" | "tags"; repository: string; reference?: undefined; tail: string };

/** Lower-case words between slashes, as the distribution specification has them: no `..`, and nothing that could be decoded into one. */
const WORD = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const NAME = `${WORD}(?:/${WORD})*`;
/** Tags, digests and names of uploads. A colon may come encoded; nothing else may, since it would be read anew behind us. */
const REFERENCE = "(?!\\.{1,2}$)(?:[\\w.:=+~-]|%3[Aa])+";
const LONGEST_NAME = 255;

/** What may stand behind a repository's name. The last match in a path counts, so that a repository may itself be called `a/blobs`. */
const TAILS = [
  ["manifest", `/manifests/(${REFERENCE})`],
  ["tags", "/tags/list"],
  ["referrers", `/referrers/(${REFERENCE})`],
  // Some registries name it so, against the specification.
  ["uploads", "/blobs/uploads?/?"],
  ["upload", `/blobs/uploads?/(${REFERENCE})`],
  ["blob", `/blobs/(${REFERENCE})`],
] as const;

const PATTERNS = TAILS.map(([kind, tail]) => [kind, new RegExp(`^/v2/(?<repository>${NAME})(?<tail>${tail})$`)] as const);

const IS_NAME = new RegExp(`^${NAME}$`);

export function isRepository(name: string): boolean {
  return name.length <= LONGEST_NAME && IS_NAME.test(name);
}

/** Reads a path without its query; undefined for one that is nothing of a registry's. */
export function readV2Path(path: string): V2Path | undefined {
  if (path === "/v2/" || path === "/v2") return { kind: "base" };
  if (path === "/v2/_catalog") return { kind: "catalog" };
  for (const [kind, pattern] of PATTERNS) {
    const found = pattern.exec(path);
    if (found === null) continue;
    const { repository = "", tail = "" } = found.groups ?? {};
    if (repository.length > LONGEST_NAME) return undefined;
    if (kind === "uploads" || kind === "tags") return { kind, repository, tail };
    return { kind, repository, reference: found[3] ?? "", tail };
  }
  return undefined;
}

/** A target in origin form, in its two parts: the query with its question mark, or nothing. */
export function splitTarget(target: string): { path: string; query: string } {
  const at = target.indexOf("?");
  return at === -1 ? { path: target, query: "" } : { path: target.slice(0, at), query: target.slice(at) };
}
