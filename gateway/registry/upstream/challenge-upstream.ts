import { Fault } from "../../../lib/fault.ts";
import { basicAuthorization, challengeIn, type RegistryTokenServer, tokenServerIn } from "../../../lib/registry-client/registry-login.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import { openBearerTokens, type BearerTokenDeps, type BearerTokens, LOGIN_SOURCE } from "./bearer-tokens.ts";
import { upstreamPlace, type RegistryAddress } from "./registry-address.ts";
import { openRefreshingValue } from "../../../lib/refreshing-value.ts";
import { realmTrust } from "../../../lib/registry-client/trusted-hosts.ts";
import { stoppingFault, type Upstream } from "./upstream.ts";
import type { RegistryAction, RepositoryAccess } from "../../../lib/registry-client/registry-client.ts";

type SignInMethod = { kind: "basic" } | { kind: "bearer"; server: RegistryTokenServer; tokens: BearerTokens } | { kind: "refused"; fault: Fault };

const PROBE_MS = 10_000;
/** An untrusted token server may be a mistake: after its repair, no restart is necessary. */
const REFUSED_FOR_MS = 10_000;

/**
 * A registry whose challenge names the way to sign in: name and password with each request, or tokens of its own token server. `GET /v2/` requests the
 * challenge before the first request. A later challenge replaces it.
 */
export function challengeUpstream(address: RegistryAddress, parts: BearerTokenDeps): Upstream {
  const { login, http, file, clock } = parts;
  const loginSource = parts.loginSource ?? LOGIN_SOURCE;
  const basic = login && basicAuthorization(login);
  const place = upstreamPlace(address);
  let way: SignInMethod | undefined;

  const overdue = () => new Fault("REGISTRY_UNREACHABLE", `${address.host} did not answer within ${PROBE_MS / 1_000} s.`);
  const probe = openRefreshingValue<SignInMethod>({
    load: async (closing) => {
      // Without the name and password: the challenge names their place.
      const request = { method: "GET", url: `${address.root}/v2/`, headers: {} };
      const reply = await withTimeout({ clock, ms: PROBE_MS, overdue, signal: closing }, (signal) => http.request({ ...request, signal }));
      if (reply.status !== 200 && reply.status !== 401) throw new Fault("REGISTRY_UNREACHABLE", `${address.host} answered ${reply.status} to /v2/.`);
      const value = adopt(challengeIn(reply));
      const lifeMs = value.kind === "refused" ? REFUSED_FOR_MS : Infinity;
      return { value, lifeMs, freshMs: lifeMs };
    },
    clock,
  });

  const adopt = (header: string | undefined): SignInMethod => {
    const server = tokenServerIn(header);
    const next = server === undefined ? ({ kind: "basic" } as const) : bearer(server);
    // Tokens of the same server stay valid.
    if (way?.kind === "bearer" && next.kind === "bearer" && sameServer(way.server, next.server)) return way;
    if (next.kind !== "refused") way = next;
    return next;
  };

  const bearer = ({ realm, service }: { realm: URL | null; service: string | undefined }): SignInMethod => {
    const trust = realm === null ? "nothing" : realmTrust(realm, address);
    if (realm === null || trust === "nothing" || (trust === "question" && login)) {
      const why = realm === null ? "names no token server" : `names the token server ${realm.host}, which is not in its own domain, or without https`;
      const so = login ? `${loginSource} is not sent there` : "nothing is sent there";
      return { kind: "refused", fault: new Fault("UPSTREAM_CREDENTIAL_FAILED", `The registry ${address.host} ${why}: ${so}.`) };
    }
    const server = { realm, service };
    return { kind: "bearer", server, tokens: openBearerTokens(server, { ...parts, file: login && file }) };
  };

  const learn = async (signal: AbortSignal): Promise<SignInMethod> => {
    try {
      return await probe.get(signal);
    } catch (error) {
      if (signal.aborted || !(error instanceof Fault)) throw error;
      // The request itself gets the registry's failure, and its challenge.
      return { kind: "basic" };
    }
  };

  const authorizationBy = (method: SignInMethod, scopes: string, signal: AbortSignal) => {
    if (method.kind === "refused") return Promise.reject(method.fault);
    return method.kind === "basic" ? basic : method.tokens.get(scopes, signal);
  };

  return {
    ...place,
    authorization: (ask, signal) => {
      const scopes = scopeOf(ask, place.nameOf);
      return way ? authorizationBy(way, scopes, signal) : learn(signal).then((learnt) => authorizationBy(learnt, scopes, signal));
    },
    refused: async (ask, header, signal) => {
      const before = way;
      const now = adopt(header);
      if (now.kind === "refused") throw now.fault;
      if (now.kind === "basic") return before?.kind === "bearer" ? basic : undefined;
      return now.tokens.renew(withScopes(scopeOf(ask, place.nameOf), tokenServerIn(header)?.scope), signal);
    },
    accepted: (authorization) => {
      if (way?.kind === "bearer") way.tokens.accepted(authorization);
    },
    close: async () => {
      probe.close(stoppingFault());
      if (way?.kind === "bearer") way.tokens.close();
      await file?.close();
      http.close();
    },
  };
}

function sameServer(one: RegistryTokenServer, other: RegistryTokenServer): boolean {
  return one.realm.href === other.realm.href && one.service === other.service;
}

const ORDER: readonly RegistryAction[] = ["pull", "push", "delete"];
const LONGEST = 1_024;
const SCOPE = /^[!-~]+$/;

/**
 * The scope of a token: `repository:name:pull,push`. Without a repository it is the catalog, or empty without actions. A push includes a pull: clients
 * check what exists already.
 */
export function scopeOf({ repository, actions }: RepositoryAccess, nameOf: (repository: string) => string): string {
  if (repository === undefined) return actions.length === 0 ? "" : "registry:catalog:*";
  const wanted = ORDER.filter((action) => actions.includes(action) || (action === "pull" && actions.includes("push")));
  return `repository:${nameOf(repository)}:${wanted.join(",")}`;
}

/** Adds the scopes of the registry's challenge, such as the repository that a blob is mounted from. */
export function withScopes(own: string, wanted: string | undefined): string {
  if (wanted === undefined || wanted.length > LONGEST) return own;
  const all = [own, ...wanted.split(" ").map(inOrder)].filter((scope) => SCOPE.test(scope));
  return [...new Set(all)].toSorted().join(" ");
}

/** Registries name actions in any order. One order gives one token: a second one would leave the refused one in use. */
function inOrder(scope: string): string {
  const at = scope.lastIndexOf(":") + 1;
  const place = (action: string) => (ORDER as readonly string[]).indexOf(action);
  const actions = scope.slice(at).split(",");
  return scope.slice(0, at) + actions.toSorted((one, other) => place(one) - place(other)).join(",");
}
