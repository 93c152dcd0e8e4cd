import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { DirectResponse, IncomingRequest, Decision, InterceptingForward, HeaderEdits, Interception, ResponseHeadView } from "../decision.ts";
import type { ForwardedEdits, TrustedProxies } from "../forwarded-headers.ts";
import { jsonAnswer, registryAnswer } from "./registry-responses.ts";
import type { IdentityServer } from "../api-backend.ts";

export type RegistryDecision = Decision<InterceptingForward>;

export type TokenRequestDeps = {
  identity: IdentityServer;
  edits: ForwardedEdits;
  service: string;
  anonymousPull: boolean;
  trusted: TrustedProxies;
  /** Of wrong keys, by client; undefined where who judges the keys sees each client's own address. */
  attempts: TokenAttempts | undefined;
  clock: Clock;
};

/** Keeps one client's guesses from being held against all clients of this proxy, which a server that does not trust it takes for one. */
export type TokenAttempts = {
  /** Faults: TOO_MANY_ATTEMPTS. */
  check(client: string, credential?: string): void;
  failed(client: string): void;
  succeeded(client: string, credential: string): void;
};

/** For clients that insist on a token where none is needed. It is no JWT, and grants nothing. */
const ANONYMOUS = "anonymous";
/** Shorter ones are not allowed; such a token never expires in truth. */
const ANONYMOUS_SECONDS = 1_800;
const TIMEOUT_MS = 60_000;
/** One scope; the class of a repository, `repository(plugin)`, says nothing of who may. */
const ONLY_PULLS = /^repository(?:\([^()]*\))?:.+:(?:pull(?:,pull)*)?$/;

/** `/token`, where our challenges lead. Who shows a key is for the identity server to judge; who only reads needs none. */
export function tokenRequest(parts: TokenRequestDeps, asked: IncomingRequest, query: string): RegistryDecision {
  const { method, header } = asked.head;
  if (method !== "GET" && method !== "POST") return refusal(new Fault("METHOD_NOT_ALLOWED", "A token is asked for by GET or POST"));
  // Of a form, the credentials are in the body, which is nothing that we look into.
  if (method === "POST" || /^basic /i.test(header("authorization") ?? "")) return forwardToIdentity(parts, asked, query);
  if (parts.anonymousPull && onlyPulls(query)) return { kind: "answer", answer: jsonAnswer(anonymousToken(parts.clock)) };
  return refusal(new Fault("TOKEN_MISSING", "Sign in first: docker login, with a developer key as the password"));
}

function onlyPulls(query: string): boolean {
  const scopes = new URLSearchParams(query).getAll("scope").flatMap((scope) => scope.split(" ").filter(Boolean));
  return scopes.every((scope) => ONLY_PULLS.test(scope));
}

function anonymousToken(clock: Clock): object {
  return { token: ANONYMOUS, access_token: ANONYMOUS, expires_in: ANONYMOUS_SECONDS, issued_at: new Date(clock.now()).toISOString() };
}

function forwardToIdentity(
  { identity, edits, service, attempts, trusted }: TokenRequestDeps,
  asked: IncomingRequest,
  query: string,
): RegistryDecision {
  const { head, peer, tls } = asked;
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
  const { remove, add } = edits(head, peer, tls);
  const more = identity.backend.edits(head, peer);
  const dropped = [...remove, ...more.remove];
  const forward = new IdentityForward(
    identity,
    `/api/docker/token${withService(query, service)}`,
    {
      remove: [...dropped, "cookie"],
      add: [...add.filter(([name]) => !more.remove.includes(name.toLowerCase())), ...more.add],
    },
    onStatus,
  );
  return { kind: "forward", forward, lease: identity.backend.lease };
}

/** A token that is for no registry would be for none: who does not say which one means this. A form may say another in its body, which counts first. */
function withService(query: string, service: string): string {
  const words = new URLSearchParams(query);
  if ((words.get("service") ?? "") !== "") return query;
  words.set("service", service);
  return `?${words.toString()}`;
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

  /** Its challenge names another way to sign in than ours. */
  response(received: ResponseHeadView): HeaderEdits {
    this.#onStatus(received.status);
    return { remove: ["www-authenticate", "set-cookie"], add: [] };
  }

  intercept(received: ResponseHeadView): Interception | undefined {
    if (received.status !== 401) return undefined;
    this.#onStatus(received.status);
    return { answer: registryAnswer(new Fault("DEV_KEY_INVALID", "The developer key is not valid: it is the password of docker login")) };
  }

  respondTo(fault: Fault): DirectResponse {
    return registryAnswer(this.#identity.backend.faultOf(fault));
  }
}

function refusal(fault: Fault): RegistryDecision {
  return { kind: "answer", answer: registryAnswer(fault) };
}
