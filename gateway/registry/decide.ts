import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { originForm } from "../http1/message-heads.ts";
import type { DirectResponse, IncomingRequest, Decide, InterceptingForward } from "../decision.ts";
import { createTraceContext, createForwardedEdits, type TrustedProxies } from "../forwarded-headers.ts";
import type { ExchangeLabels, RouteName } from "../access-record.ts";
import type { Readiness } from "../readiness.ts";
import { challenge, internalAnswer, jsonAnswer, registryAnswer } from "./registry-responses.ts";
import type { IdentityServer } from "../api-backend.ts";
import { type RegistryDecision, type TokenAttempts, tokenRequest, type TokenRequestDeps } from "./token-request.ts";
import {
  upstreamActions,
  mountedFrom,
  accessRequirement,
  authorize,
  type AccessRequirement,
  readV2Path,
  splitTarget,
  type V2Path,
} from "./authorize.ts";
import type { RedirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import { publicOriginOf } from "./locations.ts";
import { fixedLease, RegistryForward, type RegistryForwardDeps } from "./registry-forward.ts";
import type { RepositoryAccess } from "../../lib/registry-client/registry-client.ts";
import type { Upstream } from "./upstream/upstream.ts";
import type { TokenGrant, VerifyToken } from "./verify-token.ts";

/** An image whose manifest was pushed, or deleted. */
export type ManifestChange = { repository: string; reference: string; by?: string; deleted?: true };

export type RegistryDecisionDeps = {
  upstream: Upstream;
  identity: IdentityServer;
  verify: VerifyToken;
  /** The registry's name in challenges, for which tokens must be. */
  service: string;
  anonymousPull: boolean;
  follow: RedirectRules | undefined;
  /** Where uploads may go on beside the registry's own domain. */
  redirectHosts: readonly string[];
  trusted: TrustedProxies;
  readiness: Readiness;
  headTimeoutMs: number;
  /** The registry is berth's own: only a token that names it may delete, and now and then nothing can be written. */
  own?: { isReadOnly(): boolean } | undefined;
  /** Of wrong keys; undefined where who judges the keys counts them by client. */
  attempts?: TokenAttempts | undefined;
  /** Told of each manifest that was pushed or deleted. */
  onPushed(pushed: ManifestChange): void;
  clock: Clock;
  log: Log;
};

type Parts = RegistryDecisionDeps & { registry: RegistryForwardDeps; token: TokenRequestDeps };

/** What a collection takes where there are not very many images. */
const COLLECTED_MS = 60_000;

/** Faults to which a client is told where to get a token that does. */
const CHALLENGED: ReadonlySet<FaultCode> = new Set(["TOKEN_MISSING", "TOKEN_INVALID", "SCOPE_INSUFFICIENT"]);

/** What to do with the requests of a registry's clients: who may push is decided here, all else is the registry's behind. */
export function openRegistryDecide(given: RegistryDecisionDeps): Decide<InterceptingForward> {
  const { upstream, follow, headTimeoutMs, trusted } = given;
  const parts: Parts = {
    ...given,
    registry: { upstream, follow, headTimeoutMs },
    token: { ...given, attempts: given.attempts, edits: createForwardedEdits({ trusted, trace: createTraceContext() }) },
  };
  return (asked) => {
    const target = originForm(asked.head.target);
    const health = parts.readiness.answer(asked.head, target);
    if (health !== undefined) return { ...answered(health), labels: { route: "health" } };
    const { path, query } = splitTarget(target);
    if (path === "/token") return { ...tokenRequest(parts.token, asked, query), labels: { route: "token" } };
    let about: ExchangeLabels = { route: "registry" };
    let scope = "";
    const failed = (error: unknown): RegistryDecision => {
      if (!(error instanceof Fault)) {
        parts.log.error({ err: error }, "A request of a registry's client could not be decided on");
        return { ...answered(internalAnswer(error)), labels: { ...about, fault: "INTERNAL" } };
      }
      const answer = CHALLENGED.has(error.code)
        ? challenge(error, { seen: publicOriginOf(asked, trusted), service: parts.service, scope })
        : registryAnswer(error);
      return { ...answered(answer), labels: { ...about, fault: error.code } };
    };
    try {
      const found = readV2Path(path);
      if (asked.head.upgrade) throw new Fault("REQUEST_INVALID", "A registry speaks no WebSocket");
      if (found === undefined) throw new Fault("ROUTE_NOT_FOUND", "There is no such path in a registry, or the repository's name is not valid");
      about = aboutOf(found, asked.head.method);
      const needs: AccessRequirement = accessRequirement(found, asked.head.method, query, parts.anonymousPull);
      ({ scope } = needs);
      const permitted = authorize(asked.head, needs, parts.verify, parts.own !== undefined);
      const go = (granted: TokenGrant | undefined) => onward(parts, asked, found, query, granted?.subject);
      const decided = permitted instanceof Promise ? permitted.then(go) : go(permitted);
      return decided instanceof Promise ? decided.catch((error: unknown) => unlessLeft(asked, error, failed)) : decided;
    } catch (error) {
      return failed(error);
    }
  };
}

const ROUTE: Readonly<Record<V2Path["kind"], RouteName>> = {
  base: "registry",
  catalog: "registry",
  manifest: "manifest",
  tags: "registry",
  referrers: "registry",
  uploads: "upload",
  upload: "upload",
  blob: "blob",
};

function aboutOf({ kind }: V2Path, method: string, login?: string): ExchangeLabels {
  const image = kind !== "manifest" ? undefined : method === "PUT" ? "push" : method === "GET" ? "pull" : undefined;
  return { route: ROUTE[kind], ...(image === undefined ? {} : { image }), ...(login === undefined ? {} : { login }) };
}

function onward(
  parts: Parts,
  asked: IncomingRequest,
  path: V2Path,
  query: string,
  login: string | undefined,
): RegistryDecision | Promise<RegistryDecision> {
  const about = aboutOf(path, asked.head.method, login);
  if (path.kind === "base") return { ...answered(jsonAnswer({})), labels: about };
  const { upstream } = parts;
  const { method } = asked.head;
  const writes = method !== "GET" && method !== "HEAD";
  if (writes && parts.own?.isReadOnly())
    throw new Fault("REGISTRY_READ_ONLY", "Garbage is being collected; try again in a minute", { retryAfterMs: COLLECTED_MS });
  const ask: RepositoryAccess = { repository: "repository" in path ? path.repository : undefined, actions: upstreamActions(path, method) };
  const target = `${upstream.basePath}${"repository" in path ? `/v2/${upstream.nameOf(path.repository)}${path.tail}` : "/v2/_catalog"}${queryThere(parts, path, query)}`;
  const from = {
    upstream,
    repository: ask.repository,
    target,
    publicOrigin: publicOriginOf(asked, parts.trusted),
    writes,
    uploadHosts: parts.redirectHosts,
  };
  const pushes = path.kind === "manifest" && method === "PUT";
  const deletes = path.kind === "manifest" && method === "DELETE";
  const followable = path.kind === "blob" && !writes;

  const withCredential = (authorization: string | undefined): RegistryDecision => {
    const forward = new RegistryForward(parts.registry, {
      access: ask,
      from,
      authorization,
      request: asked,
      mayFollow: followable,
      ...(pushes || deletes
        ? {
            onAnswer: ({ status }) => {
              const by = login === undefined ? {} : { by: login };
              const { repository, reference } = path;
              if (status < 300) parts.onPushed({ repository, reference, ...by, ...(deletes ? { deleted: true } : {}) });
            },
          }
        : {}),
    });
    return { kind: "forward", forward, lease: fixedLease(upstream.target), labels: about };
  };
  const credential = () => {
    const authorization = upstream.authorization(ask, asked.signal);
    return authorization instanceof Promise ? authorization.then(withCredential) : withCredential(authorization);
  };
  if (upstream.beforePush === undefined || !(pushes || (path.kind === "uploads" && method === "POST"))) return credential();
  return upstream.beforePush(path.repository, asked.signal).then(credential);
}

/** The registry may have another name for the repository that a layer is mounted from, too. */
function queryThere({ upstream }: Parts, { kind }: V2Path, query: string): string {
  const from = kind === "uploads" ? mountedFrom(query) : undefined;
  if (from === undefined || upstream.nameOf(from) === from) return query;
  const words = new URLSearchParams(query);
  words.set("from", upstream.nameOf(from));
  return `?${words.toString()}`;
}

function answered(answer: DirectResponse): RegistryDecision {
  return { kind: "answer", answer };
}

/** A decision fails only where there is still somebody to be answered. */
function unlessLeft(asked: IncomingRequest, error: unknown, failed: (error: unknown) => RegistryDecision): RegistryDecision {
  if (!(error instanceof Fault) && asked.signal.aborted) throw error;
  return failed(error);
}
