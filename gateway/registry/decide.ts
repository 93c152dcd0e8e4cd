import type { Clock } from "../../lib/clock.ts";
import { addressBlock } from "../../lib/connection-limits.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { originForm } from "../http1/message-heads.ts";
import { type DirectResponse, fixedLease, type HeaderLine, type IncomingRequest, type Decide, type InterceptingForward } from "../decision.ts";
import { createForwardedEdits } from "../forwarded-headers.ts";
import { createTraceContext } from "../trace-context.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";
import type { ExchangeLabels, RouteName } from "../access-record.ts";
import type { GatewayReadiness } from "../readiness.ts";
import { challenge, internalAnswer, jsonAnswer, MethodNotAllowed, registryAnswer } from "./registry-responses.ts";
import type { IdentityServer } from "../api-backend.ts";
import { type RegistryDecision, type TokenAttempts, tokenRequest, type TokenRequestDeps } from "./token-request.ts";
import {
  upstreamActions,
  mountedFrom,
  accessRequirement,
  authorize,
  type AccessRequirement,
  parseV2Path,
  splitTarget,
  type V2Path,
} from "./authorize.ts";
import type { RedirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import { publicOriginOf } from "./locations.ts";
import { RegistryForward, type RegistryForwardDeps } from "./registry-forward.ts";
import type { RepositoryAccess } from "../../lib/registry-client/registry-client.ts";
import type { RegistryCache } from "./cache/cached-names.ts";
import type { PushRightRequest } from "../contract.ts";
import type { PushCheck } from "./push-check.ts";
import type { Upstream } from "./upstream/upstream.ts";
import type { RevokedGrants, TokenGrant, VerifyToken } from "./verify-token.ts";

/** An image whose manifest was pushed, or deleted. */
export type ManifestChange = { repository: string; reference: string; by?: string; deleted?: true };

type RegistryDecisionDeps = {
  upstream: Upstream;
  /** Undefined: none is set up. */
  cache?: RegistryCache | undefined;
  identity: IdentityServer;
  verify: VerifyToken;
  /** The registry's name in challenges, and the audience of its tokens. */
  service: string;
  anonymousPull: boolean;
  follow: RedirectRules | undefined;
  /** Hosts at which uploads may continue, beside the registry's own domain. */
  redirectHosts: readonly string[];
  trusted: TrustedProxies;
  readiness: GatewayReadiness;
  headTimeoutMs: number;
  /** The registry is berth's own: a delete needs a token that names it, and a garbage collection refuses writes. */
  own?: { isReadOnly(): boolean } | undefined;
  /** Undefined: a token counts until it expires. */
  revoked?: Pick<RevokedGrants, "has"> | undefined;
  /** Whether a user may still push to a repository, before a manifest is forwarded. Undefined: the token alone decides. Faults: NOT_PERMITTED. */
  requirePushRight?: ((push: PushRightRequest, signal: AbortSignal) => Promise<void>) | undefined;
  /** Undefined: every manifest goes to the registry at once. */
  pushCheck?: PushCheck | undefined;
  /** Wrong keys by client. Undefined if the identity server counts them itself. */
  attempts?: TokenAttempts | undefined;
  /** Called for each manifest that was pushed or deleted. */
  onPushed(change: ManifestChange): void;
  clock: Clock;
  log: Log;
};

type RegistryDeps = RegistryDecisionDeps & { registry: RegistryForwardDeps; token: TokenRequestDeps };

/** Instead of a form's type: Distribution reads `from` and `mount` of a form too, of which only the query's were authorized. */
const LAYER_TYPE: HeaderLine = ["Content-Type", "application/octet-stream"];
/** Of a login, in a header between processes. */
const LONGEST_LOGIN = 255;
/** The usual duration of a garbage collection. */
const COLLECTED_MS = 60_000;

/** Faults whose response tells the client where to get a token. */
const CHALLENGED: ReadonlySet<FaultCode> = new Set(["TOKEN_MISSING", "TOKEN_INVALID", "SCOPE_INSUFFICIENT"]);

/** Decides on the requests of a registry's clients: checks their rights, and forwards them to the backing registry. */
export function createRegistryDecide(options: RegistryDecisionDeps): Decide<InterceptingForward> {
  const { upstream, follow, headTimeoutMs, trusted } = options;
  const deps: RegistryDeps = {
    ...options,
    registry: { upstream, follow, headTimeoutMs },
    token: { ...options, attempts: options.attempts, edits: createForwardedEdits({ trusted, trace: createTraceContext() }) },
  };
  return (request) => {
    const target = originForm(request.head.target);
    const health = deps.readiness.answer(request.head, target);
    if (health !== undefined) return { ...answered(health), labels: { route: "health" } };
    const { path, query } = splitTarget(target);
    if (path === "/token") return { ...tokenRequest(deps.token, request, query), labels: { route: "token" } };
    let labels: ExchangeLabels = { route: "registry" };
    let scope = "";
    const failed = (error: unknown): RegistryDecision => {
      if (!(error instanceof Fault)) {
        deps.log.error({ err: error }, "deciding on a registry request failed");
        return { ...answered(internalAnswer(error)), labels: { ...labels, fault: "INTERNAL" } };
      }
      const response = CHALLENGED.has(error.code)
        ? challenge(error, { publicOrigin: publicOriginOf(request, trusted), service: deps.service, scope })
        : registryAnswer(error);
      return { ...answered(response), labels: { ...labels, fault: error.code } };
    };
    try {
      const v2 = parseV2Path(path);
      if (request.head.upgrade) throw new Fault("REQUEST_INVALID", "A registry speaks no WebSocket");
      if (v2 === undefined) throw new Fault("ROUTE_NOT_FOUND", "There is no such path in a registry, or the repository's name is not valid");
      labels = labelsOf(v2, request.head.method);
      const chosen = chooseRegistry(deps, request, v2, query);
      if (chosen !== deps && request.head.method !== "GET" && request.head.method !== "HEAD")
        throw new MethodNotAllowed("This is a cache of another registry: push to that registry, or to a repository of this one", ["GET", "HEAD"]);
      const requirement: AccessRequirement = accessRequirement(v2, request.head.method, query, chosen.anonymousPull);
      ({ scope } = requirement);
      const authorized = authorize(request.head, requirement, deps.verify, {
        deletesAreNamed: deps.own !== undefined,
        revoked: deps.revoked,
      });
      const forward = (grant: TokenGrant | undefined) => forwardRequest(chosen, request, v2, query, grant?.subject);
      const decision = authorized instanceof Promise ? authorized.then(forward) : forward(authorized);
      return decision instanceof Promise ? decision.catch((error: unknown) => unlessAborted(request, error, failed)) : decision;
    } catch (error) {
      return failed(error);
    }
  };
}

/** The backing registry, which `deps` have, or the cache under the name that the client's repository has there. */
function chooseRegistry(deps: RegistryDeps, request: IncomingRequest, v2: V2Path, query: string): RegistryDeps {
  const { cache } = deps;
  if (cache === undefined || !("repository" in v2)) return deps;
  const { repository } = v2;
  const name = cache.names.of(repository, { query, host: request.head.header("host") });
  if (name === undefined) return deps;
  const upstream: Upstream = { ...cache.upstream, nameOf: (client) => (client === repository ? name : client) };
  return { ...deps, upstream, anonymousPull: cache.anonymousPull, registry: { ...deps.registry, upstream, follow: undefined } };
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

function labelsOf({ kind }: V2Path, method: string, login?: string): ExchangeLabels {
  const image = kind !== "manifest" ? undefined : method === "PUT" ? "push" : method === "GET" ? "pull" : undefined;
  return { route: ROUTE[kind], ...(image === undefined ? {} : { image }), ...(login === undefined ? {} : { login }) };
}

function forwardRequest(
  deps: RegistryDeps,
  request: IncomingRequest,
  path: V2Path,
  query: string,
  login: string | undefined,
): RegistryDecision | Promise<RegistryDecision> {
  const labels = labelsOf(path, request.head.method, login);
  if (path.kind === "base") return { ...answered(jsonAnswer({})), labels };
  const { upstream } = deps;
  const { method } = request.head;
  const writes = method !== "GET" && method !== "HEAD";
  if (writes && deps.own?.isReadOnly())
    throw new Fault("REGISTRY_READ_ONLY", "Garbage is being collected; try again in a minute", { retryAfterMs: COLLECTED_MS });
  const access: RepositoryAccess = { repository: "repository" in path ? path.repository : undefined, actions: upstreamActions(path, method) };
  const target = `${upstream.basePath}${"repository" in path ? `/v2/${upstream.nameOf(path.repository)}${path.tail}` : "/v2/_catalog"}${upstreamQuery(deps, path, query)}`;
  const from = {
    upstream,
    repository: access.repository,
    target,
    publicOrigin: publicOriginOf(request, deps.trusted),
    writes,
    uploadHosts: deps.redirectHosts,
  };
  const pushes = path.kind === "manifest" && method === "PUT";
  const deletes = path.kind === "manifest" && method === "DELETE";
  const mayFollow = path.kind === "blob" && !writes;

  const check = pushes ? deps.pushCheck : undefined;
  const hasType = path.kind === "uploads" && request.head.header("content-type") !== undefined;
  const lines: HeaderLine[] = [
    ...(hasType ? [LAYER_TYPE] : []),
    ...(upstream.clientLines?.(clientOf(deps, request, login)) ?? []),
    ...(pushes
      ? (check?.lines({ repository: path.repository, reference: path.reference, ...(login === undefined ? {} : { by: login }) }) ?? [])
      : []),
  ];

  const withCredential = (authorization: string | undefined): RegistryDecision => {
    const forward = new RegistryForward(deps.registry, {
      access,
      lines,
      dropped: hasType ? ["content-type"] : [],
      from,
      authorization,
      signal: request.signal,
      mayFollow,
      ...(pushes || deletes
        ? {
            onResponse: ({ status }) => {
              const by = login === undefined ? {} : { by: login };
              const { repository, reference } = path;
              if (status < 300) deps.onPushed({ repository, reference, ...by, ...(deletes ? { deleted: true } : {}) });
            },
          }
        : {}),
    });
    return { kind: "forward", forward, lease: fixedLease(check?.target ?? upstream.target), labels };
  };
  const credential = () => {
    const authorization = upstream.authorization(access, request.signal);
    return authorization instanceof Promise ? authorization.then(withCredential) : withCredential(authorization);
  };
  const right = pushes && login !== undefined ? deps.requirePushRight?.({ repository: path.repository, by: login }, request.signal) : undefined;
  const { beforePush } = upstream;
  const prepares = beforePush !== undefined && (pushes || (path.kind === "uploads" && method === "POST"));
  if (right === undefined && !prepares) return credential();
  const prepare = async (): Promise<RegistryDecision> => {
    await right;
    if (prepares) await beforePush(path.repository, request.signal);
    return credential();
  };
  return prepare();
}

function clientOf({ trusted }: RegistryDeps, { head, peer }: IncomingRequest, login: string | undefined): string {
  if (login !== undefined && login !== "") return `user ${encodeURIComponent(login.slice(0, LONGEST_LOGIN).toWellFormed())}`;
  return `address ${addressBlock(trusted.clientOf(head.header("x-forwarded-for"), peer.address))}`;
}

/** The registry may have another name for the repository that a layer is mounted from. */
function upstreamQuery({ upstream }: RegistryDeps, { kind }: V2Path, query: string): string {
  const from = kind === "uploads" ? mountedFrom(query) : undefined;
  if (from === undefined || upstream.nameOf(from) === from) return query;
  const parameters = new URLSearchParams(query);
  parameters.set("from", upstream.nameOf(from));
  return `?${parameters.toString()}`;
}

function answered(response: DirectResponse): RegistryDecision {
  return { kind: "answer", answer: response };
}

/** A request that its client aborted gets no response. */
function unlessAborted(request: IncomingRequest, error: unknown, failed: (error: unknown) => RegistryDecision): RegistryDecision {
  if (!(error instanceof Fault) && request.signal.aborted) throw error;
  return failed(error);
}
