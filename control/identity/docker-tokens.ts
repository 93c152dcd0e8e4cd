import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { isRepositoryPart } from "../model/names.ts";
import { type SignerDeps, signToken, TOKEN_SECONDS } from "./signing-keys.ts";

/** A token as docker reads it; the two names are of two generations of clients. */
export type DockerToken = { token: string; access_token: string; expires_in: number; issued_at: string };

export type DockerTokenClaims = {
  issuer: string;
  /** The registry, as its challenge names it; undefined: the client sent none. */
  audience: string | undefined;
  login: string;
  access: DockerScope[];
  /** If that is less than the usual lifetime. */
  seconds?: number | undefined;
  /** When the rights were read, epoch ms: if they became fewer since, the token is revoked with the earlier ones. */
  issuedOn: number;
};

/** For clients that require a token although none is needed. It is not a JWT, and grants nothing. */
const ANONYMOUS = "anonymous";

/** Signs the rights of a user at the registry. Nothing is stored. Faults: CREDENTIALS_UNREADABLE. */
export async function dockerToken(
  deps: SignerDeps,
  { issuer, audience, login, access, seconds: most, issuedOn }: DockerTokenClaims,
): Promise<DockerToken> {
  const seconds = Math.min(most ?? TOKEN_SECONDS, TOKEN_SECONDS);
  const { token, issuedAt } = await signToken(deps, { limit: "docker", issuer, audience, subject: login, seconds, issuedOn, more: { access } });
  return tokenResponse(token, issuedAt, seconds);
}

export function anonymousToken(clock: Clock): DockerToken {
  return tokenResponse(ANONYMOUS, Math.floor(clock.now() / 1_000));
}

function tokenResponse(token: string, issuedAt: number, seconds = TOKEN_SECONDS): DockerToken {
  return { token, access_token: token, expires_in: seconds, issued_at: new Date(issuedAt * 1_000).toISOString() };
}

/** Requested or granted actions at the registry: a client's scope (`repository:datagrok/x:pull,push`), or an entry in a token's `access`. */
export type DockerScope = { type: string; name: string; actions: string[] };

/** The rights of a user; undefined: the request shows no credential. */
export type ScopeRights = {
  admin: boolean;
  mayPush(repository: string): Promise<boolean>;
  /** Absent: every repository, and their names. */
  mayPull?(repository: string): Promise<boolean>;
};

/** A push names its own repository and a few that it mounts layers from. */
const MOST_SCOPES = 20;
/** Of one repository: there are four. More are passed over. */
const MOST_ACTIONS = 20;
/** The longest that registries take. */
const LONGEST_REPOSITORY = 255;

/**
 * Reads scopes, several to a text or one each. A repository's name may hold a colon, so the type ends at the first and the actions begin after the last.
 * The class of a type, `repository(plugin)`, is left out: nothing follows from it. A text that is no scope is ignored: a token may have fewer rights than requested. Faults: REQUEST_INVALID for more than a token can carry.
 */
export function parseScopes(texts: readonly string[]): DockerScope[] {
  const scopes = new Map<string, { type: string; name: string; actions: Set<string> }>();
  for (const text of texts.flatMap((one) => one.split(/\s+/))) {
    const [, type, name, listed = ""] = /^([^:()]+)(?:\([^:()]*\))?:(.+):([^:]*)$/.exec(text) ?? [];
    if (type === undefined || name === undefined) continue;
    const scope = scopes.get(`${type}:${name}`) ?? { type, name, actions: new Set() };
    scopes.set(`${type}:${name}`, scope);
    for (const action of listed.split(",")) if (action !== "" && scope.actions.size < MOST_ACTIONS) scope.actions.add(action);
  }
  if (scopes.size > MOST_SCOPES) throw new Fault("REQUEST_INVALID", `The request has ${scopes.size} scopes. A token takes at most ${MOST_SCOPES}.`);
  return [...scopes.values()].map(({ actions, ...scope }) => ({ ...scope, actions: [...actions] }));
}

export function formatScopes(scopes: readonly DockerScope[]): string {
  return scopes.map(({ type, name, actions }) => `${type}:${name}:${actions.join(",")}`).join(" ");
}

/** Whether these scopes need no credential. */
export function isPullOnly(scopes: readonly DockerScope[]): boolean {
  return scopes.every(({ type, actions }) => type === "repository" && actions.every((action) => action === "pull"));
}

/** The requested actions that are allowed; scopes without one are left out. */
export async function grantedScopes(requested: readonly DockerScope[], rights: ScopeRights | undefined): Promise<DockerScope[]> {
  const granted: DockerScope[] = [];
  for (const scope of requested) {
    const allowed = await allowedActions(scope, rights);
    const actions = scope.actions.includes("*") ? allowed : scope.actions.filter((action) => allowed.includes(action));
    if (actions.length > 0) granted.push({ ...scope, actions });
  }
  return granted;
}

async function allowedActions({ type, name }: DockerScope, rights: ScopeRights | undefined): Promise<string[]> {
  if (type === "registry" && name === "catalog") return rights && !rights.mayPull ? ["*"] : [];
  if (type !== "repository" || !isRepository(name)) return [];
  if (rights?.admin) return ["pull", "push", "delete", "*"];
  const pull = rights?.mayPull === undefined || (await rights.mayPull(name)) ? ["pull"] : [];
  return (await rights?.mayPush(name)) ? [...pull, "push"] : pull;
}

function isRepository(name: string): boolean {
  return name.length <= LONGEST_REPOSITORY && name.split("/").every(isRepositoryPart);
}
