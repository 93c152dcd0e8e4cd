import { Fault } from "../../lib/fault.ts";
import {
  type DirectResponse,
  fixedLease,
  type InterceptingForward,
  type HeaderEdits,
  type HeaderLine,
  type Interception,
  type ResponseHeadView,
} from "../decision.ts";
import { isRedirect, locationEdits, upstreamOrigin, type UpstreamRequest } from "./locations.ts";
import type { RedirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import type { RepositoryAccess } from "../../lib/registry-client/registry-client.ts";
import { CACHE_CLIENT_HEADER } from "./cache/cached-names.ts";
import { PUSH_HEADER } from "./push-check.ts";
import type { Upstream } from "./upstream/upstream.ts";
import { challengeIn } from "../../lib/registry-client/registry-login.ts";
import { registryAnswer } from "./registry-responses.ts";

export type RegistryForwardDeps = {
  upstream: Upstream;
  /** Rules for redirects that the proxy follows. Undefined: the client gets them. */
  follow: RedirectRules | undefined;
  /** How long the head of a response may take: the registry assembles a large layer before it responds. */
  headTimeoutMs: number;
};

type RegistryForwardRequest = {
  access: RepositoryAccess;
  /** Header lines of berth's own, most of them for a process of berth's. */
  lines: readonly HeaderLine[];
  /** Names of further headers that the registry does not get, in lower case. */
  dropped: readonly string[];
  from: UpstreamRequest;
  authorization: string | undefined;
  /** Aborts when the client has left. */
  signal: AbortSignal;
  /** The proxy may follow redirects: the request reads a blob. */
  mayFollow: boolean;
  /** Called before the response is forwarded. */
  onResponse?: (received: ResponseHeadView) => void;
};

/**
 * Headers of the client that the registry does not get: credentials for berth, headers from which registries make addresses, and headers that would
 * replace the method or path that was authorized here.
 */
const CLIENT_HEADERS = [
  "authorization",
  "cookie",
  "host",
  "x-user-api-key",
  "x-berth-client",
  CACHE_CLIENT_HEADER,
  PUSH_HEADER,
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-scheme",
  "x-forwarded-ssl",
  "x-real-ip",
  "forwarded",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-host",
  "x-original-method",
  "x-original-url",
  "x-rewrite-url",
];
/** Headers of the registry that the client does not get: they are for berth, or for the registry's own host name. */
const REGISTRY_HEADERS = ["www-authenticate", "set-cookie", "strict-transport-security", "alt-svc"];

const BEGINS_UPLOAD = /\/blobs\/uploads\/?(\?|$)/;

/** The engine allows a limited number of interceptions: one may be for a new credential. */
const MOST_HOPS = 2;

/** One request to the backing registry, with berth's credential instead of the client's. */
export class RegistryForward implements InterceptingForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly #deps: RegistryForwardDeps;
  readonly #request: RegistryForwardRequest;
  readonly #isFirst: boolean;

  constructor(deps: RegistryForwardDeps, request: RegistryForwardRequest, isFirst = true) {
    const { authorization, from, lines, dropped } = request;
    this.target = from.target;
    this.headTimeoutMs = deps.headTimeoutMs;
    const own: HeaderLine[] = authorization === undefined ? [] : [["Authorization", authorization]];
    this.request = { remove: [...CLIENT_HEADERS, ...dropped], add: [["Host", deps.upstream.host], ...own, ...lines] };
    this.#deps = deps;
    this.#request = request;
    this.#isFirst = isFirst;
  }

  response(received: ResponseHeadView): HeaderEdits {
    const { authorization, onResponse } = this.#request;
    if (authorization !== undefined && received.status < 400) this.#deps.upstream.accepted?.(authorization);
    onResponse?.(received);
    const { remove, add } = locationEdits(this.#request.from, received);
    return { remove: [...REGISTRY_HEADERS, ...remove], add };
  }

  intercept(received: ResponseHeadView, bodySent: boolean): Interception | Promise<Interception> | undefined {
    if (received.status === 401) return this.#retryOrRefuse(received, bodySent);
    if (received.status === 404 && BEGINS_UPLOAD.test(this.target)) return this.#explainMissing();
    if (bodySent || !this.#request.mayFollow || !isRedirect(received.status)) return undefined;
    const origin = upstreamOrigin(this.#request.from);
    return followRedirect(this.#deps, origin + this.target, received, 0);
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(registryFault(fault));
  }

  /** The repository is missing: if creating it failed, the client gets the reason. */
  #explainMissing(): Interception | undefined {
    const { repository } = this.#request.access;
    const fault = repository === undefined ? undefined : this.#deps.upstream.missingRepositoryFault?.(repository);
    return fault && { answer: registryAnswer(fault) };
  }

  async #retryOrRefuse(received: ResponseHeadView, bodySent: boolean): Promise<Interception> {
    const { upstream } = this.#deps;
    const { access, signal } = this.#request;
    const authorization = this.#isFirst ? await upstream.refused(access, challengeIn(received), signal) : undefined;
    if (authorization === undefined) return { answer: registryAnswer(refusedFault(access)) };
    // The body is sent, so the new credential serves the client's next attempt.
    if (bodySent)
      return {
        answer: registryAnswer(
          new Fault("REGISTRY_CREDENTIAL_RENEWED", "The backing registry requires a new credential; try again", { retryAfterMs: 1_000 }),
        ),
      };
    return { forward: new RegistryForward(this.#deps, { ...this.#request, authorization }, false), lease: fixedLease(upstream.target) };
  }
}

/** Follows a redirect for the client, without berth's credential. */
function followRedirect(deps: RegistryForwardDeps, base: string, received: ResponseHeadView, hops: number): Promise<Interception> | undefined {
  const location = received.header("location");
  const { follow } = deps;
  if (follow === undefined || location === undefined || !URL.canParse(location, base)) return undefined;
  const url = new URL(location, base);
  const forwardThere = async (): Promise<Interception> => {
    if (hops === MOST_HOPS) throw new Fault("REDIRECT_REFUSED", "The backing registry has too many redirects in a row");
    const target = await follow.targetOf(url);
    return { forward: new RedirectForward(deps, url, hops), lease: fixedLease(target) };
  };
  return forwardThere().catch((error: unknown) => {
    if (!(error instanceof Fault)) throw error;
    return { answer: registryAnswer(error) };
  });
}

/** One request to the target of a registry's redirect. */
class RedirectForward implements InterceptingForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly #deps: RegistryForwardDeps;
  readonly #url: URL;
  readonly #hops: number;

  constructor(deps: RegistryForwardDeps, url: URL, hops: number) {
    this.target = url.pathname + url.search;
    this.headTimeoutMs = deps.headTimeoutMs;
    this.request = { remove: CLIENT_HEADERS, add: [["Host", url.host]] };
    this.#deps = deps;
    this.#url = url;
    this.#hops = hops;
  }

  response(): HeaderEdits {
    return { remove: REGISTRY_HEADERS, add: [] };
  }

  intercept(received: ResponseHeadView): Promise<Interception> | undefined {
    return isRedirect(received.status) ? followRedirect(this.#deps, this.#url.href, received, this.#hops + 1) : undefined;
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(registryFault(fault));
  }
}

function refusedFault({ repository, actions }: RepositoryAccess): Fault {
  const what = repository === undefined ? "its catalog" : `${actions.join(" and ")} of ${repository}`;
  return new Fault(
    "REGISTRY_REFUSED",
    `The backing registry refused berth's credential for ${what}, or has no such repository; its administrator can tell`,
  );
}

/** Faults of the engine are about containers: here the other end is a registry. */
function registryFault(fault: Fault): Fault {
  const { cause } = fault;
  if (fault.code === "RESPONSE_TIMED_OUT") return new Fault("REGISTRY_TIMED_OUT", "The backing registry did not answer in time", { cause });
  if (fault.code === "CONTAINER_UNREACHABLE") return new Fault("REGISTRY_UNREACHABLE", "The backing registry cannot be reached", { cause });
  if (fault.code === "CONTAINER_BROKE_OFF")
    return new Fault("REGISTRY_UNREACHABLE", "The backing registry broke the connection before it answered; try again", { cause });
  return fault;
}
