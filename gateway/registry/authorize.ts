import { Fault } from "../../lib/fault.ts";
import type { Head } from "../decision.ts";
import { scopeOf, CATALOG_SCOPE, MethodNotAllowed, type RequiredAccess } from "./registry-responses.ts";
import type { RegistryAction } from "../../lib/registry-client/registry-client.ts";
import { allows, type RevokedGrants, type TokenGrant, type VerifyToken } from "./verify-token.ts";

/** The rights that a request requirement. `isPublic`: none. */
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

/** Cancelling an upload deletes no image. */
const UPLOAD_ACTIONS: Readonly<Record<string, readonly RegistryAction[]>> = { ...ACTIONS, DELETE: PUSH };

/** What berth's own credential has to allow. A status request of an upload needs as much as the upload. */
export function upstreamActions(path: V2Path, method: string): readonly RegistryAction[] {
  return path.kind === "upload" ? PUSH : actionsOf(path, method);
}

/** The actions of a request on its repository. Faults: METHOD_NOT_ALLOWED. */
function actionsOf({ kind }: V2Path, method: string): readonly RegistryAction[] {
  const byMethod = kind === "upload" ? UPLOAD_ACTIONS : ACTIONS;
  const actions = byMethod[method];
  if (actions === undefined) throw new MethodNotAllowed(`A registry has no method ${method}`, Object.keys(byMethod));
  return actions;
}

/** Faults: METHOD_NOT_ALLOWED, REQUEST_INVALID. */
export function accessRequirement(path: V2Path, method: string, query: string, anonymousPull: boolean): AccessRequirement {
  if (path.kind === "base") return { isPublic: false, repositories: [], scope: "" };
  if (path.kind === "catalog") return { isPublic: false, repositories: [], scope: CATALOG_SCOPE };
  const actions = actionsOf(path, method);
  const own: RequiredAccess = { repository: path.repository, actions };
  const from = path.kind === "uploads" ? mountedFrom(query) : undefined;
  const repositories = from === undefined ? [own] : [own, { repository: from, actions: ["pull"] } satisfies RequiredAccess];
  const reads = method === "GET" || method === "HEAD";
  return { isPublic: reads && anonymousPull, repositories, scope: repositories.map(scopeOf).join(" ") };
}

/** The repository that a layer is mounted from. An ambiguous query is refused. Faults: REQUEST_INVALID. */
export function mountedFrom(query: string): string | undefined {
  const from = new URLSearchParams(query).getAll("from");
  const [first] = from;
  if (first === undefined && !query.includes(";")) return undefined;
  if (first === undefined || from.length > 1 || query.includes(";") || !isRepository(first))
    throw new Fault("REQUEST_INVALID", "The repository to mount a layer from is not one name");
  return first;
}

/**
 * Checks the request's token. Resolves with its grant, undefined if the request needs none. Faults: TOKEN_MISSING, TOKEN_INVALID, SCOPE_INSUFFICIENT,
 * and those of verifying. `deletesAreNamed`: only a token with an access list allows deletes. `revoked`: tokens that count no longer.
 */
export function authorize(
  head: Head,
  requirement: AccessRequirement,
  verify: VerifyToken,
  { deletesAreNamed, revoked }: { deletesAreNamed: boolean; revoked: Pick<RevokedGrants, "has"> | undefined },
): TokenGrant | undefined | Promise<TokenGrant> {
  if (requirement.isPublic) return undefined;
  const token = bearer(head.header("authorization"));
  const check = (grant: TokenGrant) => {
    if (revoked?.has(grant))
      throw new Fault("TOKEN_INVALID", "Since this token was issued, its user was blocked or removed, or lost a key or rights: request another one");
    for (const { repository, actions } of requirement.repositories) {
      // A right to push includes the right to pull, also if the token does not name it.
      const needed = actions.includes("push") ? (["push"] as const) : actions;
      // A token without an access list allows everything but this: any user can have one.
      const unnamed = (action: RegistryAction) => deletesAreNamed && action === "delete" && grant.access === undefined;
      const missing = needed.find((action) => unnamed(action) || !allows(grant, repository, action));
      if (missing !== undefined) throw new Fault("SCOPE_INSUFFICIENT", `You may not ${ACTION_TEXTS[missing]} ${repository}`);
    }
    return grant;
  };
  const verified = verify(token);
  return verified instanceof Promise ? verified.then(check) : check(verified);
}

const ACTION_TEXTS: Record<RegistryAction, string> = { pull: "pull", push: "push to", delete: "delete from" };

/** Faults: TOKEN_MISSING, TOKEN_INVALID. */
function bearer(authorization: string | undefined): string {
  if (authorization === undefined) throw new Fault("TOKEN_MISSING", "Sign in first: docker login, with a developer key as the password");
  const [, token] = /^bearer +([^\s,]+)$/i.exec(authorization) ?? [];
  if (token === undefined) throw new Fault("TOKEN_INVALID", "Only a token of this registry is accepted here");
  return token;
}

/** The object of a request; `reference` is a tag, a digest or the name of an upload, byte for byte. */
export type V2Path =
  | { kind: "base" }
  | { kind: "catalog" }
  | { kind: "manifest" | "blob" | "upload" | "referrers"; repository: string; reference: string; tail: string }
  | { kind: "uploads" | "tags"; repository: string; reference?: undefined; tail: string };

/** Lower-case words between slashes, as in the distribution specification: no `..`, and nothing that decodes to one. */
const WORD = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const NAME = `${WORD}(?:/${WORD})*`;
/** Tags, digests and names of uploads. Only a colon may be encoded: the registry would decode anything else again. */
const REFERENCE = "(?!\\.{1,2}$)(?:[\\w.:=+~-]|%3[Aa])+";
const LONGEST_NAME = 255;

/** The path after a repository's name. The last match in a path counts, so that a repository may have the name `a/blobs`. */
const TAILS = [
  ["manifest", `/manifests/(${REFERENCE})`],
  ["tags", "/tags/list"],
  ["referrers", `/referrers/(${REFERENCE})`],
  // Some registries use this name, against the specification.
  ["uploads", "/blobs/uploads?/?"],
  ["upload", `/blobs/uploads?/(${REFERENCE})`],
  ["blob", `/blobs/(${REFERENCE})`],
] as const;

const PATTERNS = TAILS.map(([kind, tail]) => [kind, new RegExp(`^/v2/(?<repository>${NAME})(?<tail>${tail})$`)] as const);

const IS_NAME = new RegExp(`^${NAME}$`);

export function isRepository(name: string): boolean {
  return name.length <= LONGEST_NAME && IS_NAME.test(name);
}

/** Parses a path without its query; undefined for a path outside the registry API. */
export function parseV2Path(path: string): V2Path | undefined {
  if (path === "/v2/" || path === "/v2") return { kind: "base" };
  if (path === "/v2/_catalog") return { kind: "catalog" };
  for (const [kind, pattern] of PATTERNS) {
    const match = pattern.exec(path);
    if (match === null) continue;
    const { repository = "", tail = "" } = match.groups ?? {};
    if (repository.length > LONGEST_NAME) return undefined;
    if (kind === "uploads" || kind === "tags") return { kind, repository, tail };
    return { kind, repository, reference: match[3] ?? "", tail };
  }
  return undefined;
}

/** Splits a target in origin form. The query has its question mark, or is empty. */
export function splitTarget(target: string): { path: string; query: string } {
  const at = target.indexOf("?");
  return at === -1 ? { path: target, query: "" } : { path: target.slice(0, at), query: target.slice(at) };
}
