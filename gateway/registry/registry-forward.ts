import { Fault } from "../../lib/fault.ts";
import type {
  DirectResponse,
  IncomingRequest,
  InterceptingForward,
  HeaderEdits,
  HeaderLine,
  Interception,
  Lease,
  ResponseHeadView,
  ForwardTarget,
} from "../decision.ts";
import { isRedirect, locationEdits, upstreamOrigin, type UpstreamRequest } from "./locations.ts";
import type { RedirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import type { RepositoryAccess } from "../../lib/registry-client/registry-client.ts";
import type { Upstream } from "./upstream/upstream.ts";
import { registryAnswer } from "./registry-responses.ts";

/** What a request to the registry needs beside the request itself. */
export type RegistryForwardDeps = {
  upstream: Upstream;
  /** Where redirects are followed to; undefined where the client gets them. */
  follow: RedirectRules | undefined;
  /** How long the head of an answer may take: a large layer is put together before it is confirmed. */
  headTimeoutMs: number;
};

export type RegistryForwardRequest = {
  access: RepositoryAccess;
  from: UpstreamRequest;
  authorization: string | undefined;
  /** Whose signal it is that the client is gone. */
  request: Pick<IncomingRequest, "signal">;
  /** Redirects of its answer may be followed: it reads a blob. */
  mayFollow: boolean;
  /** Its answer is about to be passed on. */
  onAnswer?: (received: ResponseHeadView) => void;
};

/**
 * What a client says to us, and nobody behind us is to hear. Who asks there is us; a registry makes addresses out of what proxies say; and one
 * that took another method or path from a header would do what was not judged here.
 */
const CLIENT_HEADERS = [
  "authorization",
  "cookie",
  "host",
  "x-user-api-key",
  "x-berth-client",
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
/** What a registry says to us as its user, or of its own name. */
const REGISTRY_HEADERS = ["www-authenticate", "set-cookie", "strict-transport-security", "alt-svc"];

const BEGINS_UPLOAD = /\/blobs\/uploads\/?(\?|$)/;

/** Few enough that with a fresh credential before them the engine still asks what to do with the last. */
const MOST_HOPS = 2;

/** One request to the registry behind, with our credential in place of the client's. */
export class RegistryForward implements InterceptingForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly #parts: RegistryForwardDeps;
  readonly #asked: RegistryForwardRequest;
  readonly #first: boolean;

  constructor(parts: RegistryForwardDeps, asked: RegistryForwardRequest, first = true) {
    const { authorization, from } = asked;
    this.target = from.target;
    this.headTimeoutMs = parts.headTimeoutMs;
    const own: HeaderLine[] = authorization === undefined ? [] : [["Authorization", authorization]];
    this.request = { remove: CLIENT_HEADERS, add: [["Host", parts.upstream.host], ...own] };
    this.#parts = parts;
    this.#asked = asked;
    this.#first = first;
  }

  response(received: ResponseHeadView): HeaderEdits {
    const { authorization, onAnswer } = this.#asked;
    if (authorization !== undefined && received.status < 400) this.#parts.upstream.accepted?.(authorization);
    onAnswer?.(received);
    const { remove, add } = locationEdits(this.#asked.from, received);
    return { remove: [...REGISTRY_HEADERS, ...remove], add };
  }

  intercept(received: ResponseHeadView, bodySent: boolean): Interception | Promise<Interception> | undefined {
    if (received.status === 401) return this.#refused(received, bodySent);
    if (received.status === 404 && BEGINS_UPLOAD.test(this.target)) return this.#unknown();
    if (bodySent || !this.#asked.mayFollow || !isRedirect(received.status)) return undefined;
    const origin = upstreamOrigin(this.#asked.from);
    return followRedirect(this.#parts, origin + this.target, received, 0);
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(registryFault(fault));
  }

  /** The repository is missing: where it could not be made, that is what the client has to know. */
  #unknown(): Interception | undefined {
    const { repository } = this.#asked.access;
    const why = repository === undefined ? undefined : this.#parts.upstream.missingRepositoryFault?.(repository);
    return why && { answer: registryAnswer(why) };
  }

  async #refused(received: ResponseHeadView, bodySent: boolean): Promise<Interception> {
    const { upstream } = this.#parts;
    const { access: ask, request: asked } = this.#asked;
    const authorization = this.#first ? await upstream.refused(ask, received.header("www-authenticate"), asked.signal) : undefined;
    if (authorization === undefined) return { answer: registryAnswer(refusedFault(ask)) };
    // The body is gone: what there is now is for the client's next attempt.
    if (bodySent)
      return {
        answer: registryAnswer(
          new Fault("REGISTRY_CREDENTIAL_RENEWED", "The registry behind wanted a new credential; try again", { retryAfterMs: 1_000 }),
        ),
      };
    return { forward: new RegistryForward(this.#parts, { ...this.#asked, authorization }, false), lease: fixedLease(upstream.target) };
  }
}

/** The registry does not move: a connection that was refused is tried once more. */
export function fixedLease(target: ForwardTarget | Promise<ForwardTarget>): Lease {
  return {
    owner: "",
    target: () => target,
    replaceTarget: (lost) => Promise.resolve(lost),
    onTargetGone: () => () => undefined,
    countBytes: () => undefined,
    release: () => undefined,
  };
}

/** Where the answer leads is asked in the client's place, without our credential. */
function followRedirect(parts: RegistryForwardDeps, base: string, received: ResponseHeadView, hops: number): Promise<Interception> | undefined {
  const location = received.header("location");
  const { follow } = parts;
  if (follow === undefined || location === undefined || !URL.canParse(location, base)) return undefined;
  const url = new URL(location, base);
  const elsewhere = async (): Promise<Interception> => {
    if (hops === MOST_HOPS) throw new Fault("REDIRECT_REFUSED", "The registry behind leads from one place to the next without an end");
    const target = await follow.targetOf(url);
    return { forward: new RedirectForward(parts, url, hops), lease: fixedLease(target) };
  };
  return elsewhere().catch((error: unknown) => {
    if (!(error instanceof Fault)) throw error;
    return { answer: registryAnswer(error) };
  });
}

/** One request to where a registry keeps what it is asked for. */
class RedirectForward implements InterceptingForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly #parts: RegistryForwardDeps;
  readonly #url: URL;
  readonly #hops: number;

  constructor(parts: RegistryForwardDeps, url: URL, hops: number) {
    this.target = url.pathname + url.search;
    this.headTimeoutMs = parts.headTimeoutMs;
    this.request = { remove: CLIENT_HEADERS, add: [["Host", url.host]] };
    this.#parts = parts;
    this.#url = url;
    this.#hops = hops;
  }

  response(): HeaderEdits {
    return { remove: REGISTRY_HEADERS, add: [] };
  }

  intercept(received: ResponseHeadView): Promise<Interception> | undefined {
    return isRedirect(received.status) ? followRedirect(this.#parts, this.#url.href, received, this.#hops + 1) : undefined;
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(registryFault(fault));
  }
}

function refusedFault({ repository, actions }: RepositoryAccess): Fault {
  const what = repository === undefined ? "its catalog" : `${actions.join(" and ")} of ${repository}`;
  return new Fault(
    "REGISTRY_REFUSED",
    `The registry behind refused our credential for ${what}, or has no such repository; its administrator can tell`,
  );
}

/** What a failure to reach a container means where it was a registry. */
function registryFault(fault: Fault): Fault {
  const { cause } = fault;
  if (fault.code === "RESPONSE_TIMED_OUT") return new Fault("REGISTRY_TIMED_OUT", "The registry behind did not answer in time", { cause });
  if (fault.code === "CONTAINER_UNREACHABLE") return new Fault("REGISTRY_UNREACHABLE", "The registry behind cannot be reached", { cause });
  if (fault.code === "CONTAINER_BROKE_OFF")
    return new Fault("REGISTRY_UNREACHABLE", "The registry behind broke the connection before it answered; try again", { cause });
  return fault;
}
