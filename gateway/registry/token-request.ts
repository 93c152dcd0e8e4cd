import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { DirectResponse, IncomingRequest, Decision, InterceptingForward, HeaderEdits, Interception, ResponseHeadView } from "../decision.ts";
import type { ForwardedEdits } from "../forwarded-headers.ts";
import { addedLines } from "../http1/write-lines.ts";
import type { RegistryCache } from "./cache/cached-names.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";
import { jsonAnswer, MethodNotAllowed, registryAnswer } from "./registry-responses.ts";
import type { IdentityServer } from "../api-backend.ts";

export type RegistryDecision = Decision<InterceptingForward>;

export type TokenRequestDeps = {
  identity: IdentityServer;
  edits: ForwardedEdits;
  service: string;
  anonymousPull: boolean;
  cache?: RegistryCache | undefined;
  trusted: TrustedProxies;
  /** Wrong keys by client. Undefined if the identity server sees each client's own address. */
  attempts: TokenAttempts | undefined;
  clock: Clock;
};

/** Counts wrong keys by client: a server that does not trust this proxy sees all its clients as one. */
export type TokenAttempts = {
  /** Faults: TOO_MANY_ATTEMPTS. */
  check(client: string, credential?: string): void;
  failed(client: string): void;
  succeeded(client: string, credential: string): void;
};

/** For clients that request a token although they need none. It is not a JWT, and grants nothing. */
const ANONYMOUS = "anonymous";
/** The specification forbids shorter lifetimes. This token never expires. */
const ANONYMOUS_SECONDS = 1_800;
const TIMEOUT_MS = 60_000;
/** One scope. The class of a repository, `repository(plugin)`, does not change the rights. */
const ONLY_PULLS = /^repository(?:\([^()]*\))?:(.+):(?:pull(?:,pull)*)?$/;

/** `/token`, the realm of the proxy's challenges. The identity server verifies keys; a public pull needs none. */
export function tokenRequest(deps: TokenRequestDeps, request: IncomingRequest, query: string): RegistryDecision {
  const { head } = request;
  const { method } = head;
  if (method !== "GET" && method !== "POST") return refusal(new MethodNotAllowed("Request a token by GET or POST", ["GET", "POST"]));
  // A form has its credentials in the body, which the proxy does not read.
  if (method === "POST" || /^basic /i.test(head.header("authorization") ?? "")) return forwardToIdentity(deps, request, query);
  if (isPublicPull(deps, head.header("host"), query)) return { kind: "answer", answer: jsonAnswer(anonymousToken(deps.clock)) };
  return refusal(new Fault("TOKEN_MISSING", "Sign in first: docker login, with a developer key as the password"));
}

function isPublicPull({ anonymousPull, cache }: TokenRequestDeps, host: string | undefined, query: string): boolean {
  const scopes = new URLSearchParams(query).getAll("scope").flatMap((scope) => scope.split(" ").filter(Boolean));
  const repositories = scopes.map((scope) => ONLY_PULLS.exec(scope)?.[1]);
  if (!repositories.every((repository) => repository !== undefined)) return false;
  const isCached = (repository: string) => cache?.names.of(repository, { query: "", host }) !== undefined;
  return anonymousPull || (cache?.anonymousPull === true && repositories.length > 0 && repositories.every(isCached));
}

function anonymousToken(clock: Clock): object {
  return { token: ANONYMOUS, access_token: ANONYMOUS, expires_in: ANONYMOUS_SECONDS, issued_at: new Date(clock.now()).toISOString() };
}

function forwardToIdentity(
  { identity, edits, service, attempts, trusted }: TokenRequestDeps,
  request: IncomingRequest,
  query: string,
): RegistryDecision {
  const { head, peer, tls } = request;
  const client = trusted.clientOf(head.header("x-forwarded-for"), peer.address);
  const credential = head.header("authorization");
  try {
    attempts?.check(client, credential);
  } catch (error) {
    if (error instanceof Fault) return refusal(error);
    throw error;
  }
  const onStatus = (status: number) => {
    if (status === 401) attempts?.failed(client);
    else if (status < 300 && credential !== undefined) attempts?.succeeded(client, credential);
  };
  const own = edits(head, peer, tls);
  const more = identity.backend.edits(head, peer);
  const dropped = [...own.remove, ...more.remove];
  const forward = new IdentityForward(
    identity,
    `/api/docker/token${withService(query, service)}`,
    {
      remove: [...dropped, "cookie"],
      add: [...addedLines(own).filter(([name]) => !more.remove.includes(name.toLowerCase())), ...more.add],
    },
    onStatus,
  );
  return { kind: "forward", forward, lease: identity.backend.openLease() };
}

/** Adds this registry as the service if the client names none. A form may name another one in its body, which counts first. */
function withService(query: string, service: string): string {
  const parameters = new URLSearchParams(query);
  if ((parameters.get("service") ?? "") !== "") return query;
  parameters.set("service", service);
  return `?${parameters.toString()}`;
}

class IdentityForward implements InterceptingForward {
  readonly target: string;
  readonly headTimeoutMs = TIMEOUT_MS;
  readonly request: HeaderEdits;
  readonly #identity: IdentityServer;
  readonly #onStatus: (status: number) => void;

  constructor(identity: IdentityServer, path: string, request: HeaderEdits, onStatus: (status: number) => void) {
    this.#onStatus = onStatus;
    this.target = identity.backend.pathOf(path);
    this.request = request;
    this.#identity = identity;
  }

  /** Its challenge is not valid for this proxy. */
  response(received: ResponseHeadView): HeaderEdits {
    this.#onStatus(received.status);
    return { remove: ["www-authenticate", "set-cookie"], add: [] };
  }

  intercept(received: ResponseHeadView): Interception | undefined {
    if (received.status !== 401) return undefined;
    this.#onStatus(received.status);
    const fault = new Fault("DEV_KEY_INVALID", "The developer key is not valid: it is the password of docker login");
    return { answer: registryAnswer(fault, [["WWW-Authenticate", 'Basic realm="berth"']]) };
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(this.#identity.backend.faultOf(fault));
  }
}

function refusal(fault: Fault): RegistryDecision {
  return { kind: "answer", answer: registryAnswer(fault) };
}
