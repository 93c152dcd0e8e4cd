import { type HttpClient, type HttpFailure, openHttpClient } from "../../../lib/http-client.ts";
import { createRegistryClient, type RegistryClient, type RegistryCredentials } from "../../../lib/registry-client/registry-client.ts";
import { Fault } from "../../../lib/fault.ts";
import type { ForwardTarget, HeaderLine } from "../../decision.ts";
import type { Clock } from "../../../lib/clock.ts";

/** The backing registry. Faults of its credentials: UPSTREAM_CREDENTIAL_FAILED, which names the missing action or setting, and never a secret. */
export type Upstream = RegistryCredentials & {
  target: ForwardTarget;
  /** Its Host header. */
  host: string;
  /** Empty, or a path before /v2, without a slash at its end. */
  basePath: string;
  /** Its own name of a repository (Docker Hub: library/). */
  nameOf(repository: string): string;
  /**
   * Header lines of berth's own for a request of this client: its user, or its address if it shows no token. Clients of the same text share what one may have
   * at a time. Registries of others get none.
   */
  clientLines?(client: string): readonly HeaderLine[];
  /** The registry accepted this Authorization: other programs may use it too. */
  accepted?(authorization: string): void;
  /** Before a push to a repository: ECR creates a missing one. Single-flight, cached. */
  beforePush?(repository: string, signal: AbortSignal): Promise<void>;
  /**
   * After NAME_UNKNOWN for a push: why the repository could not be created (REPOSITORY_NOT_MADE names the missing right). The refused creation alone is
   * no failure: the registry may create the repository itself.
   */
  missingRepositoryFault?(repository: string): Fault | undefined;
  close(): Promise<void>;
};

/** A registry of berth's own behind its socket. It needs no credentials: only this user can open the socket. */
export function socketUpstream(socketPath: string): Upstream {
  return {
    target: { socketPath },
    host: "localhost",
    basePath: "",
    nameOf: (repository) => repository,
    authorization: () => undefined,
    refused: async () => undefined,
    close: async () => {},
  };
}

/** Callers whose credentials were refused at the same time get one new credential. */
export const NEW_CREDENTIAL_MS = 5_000;

/** The reason for requests that `close` ends. */
export function stoppingFault(): Fault {
  return new Fault("UPSTREAM_CREDENTIAL_FAILED", "The registry proxy is stopping.");
}

/** A client of the backing registry with berth's own credential. It follows no redirect. */
export function upstreamClient(upstream: Upstream, http: Pick<HttpClient, "request">): RegistryClient {
  const scheme = "tls" in upstream.target && upstream.target.tls !== undefined ? "https" : "http";
  return createRegistryClient({ root: `${scheme}://${upstream.host}${upstream.basePath}`, http, credentials: upstream });
}

export const CONNECT_MS = 5_000;
const SILENCE_MS = 15_000;
/** Callers have shorter limits of their own. */
const ANSWER_MS = 120_000;
const CONNECTIONS = 16;
const MAX_BYTES = 4 * 1_048_576;

/** For small requests to registries and token servers. With a `socketPath` every request goes there. Faults: REGISTRY_UNREACHABLE. */
export function openRegistryHttp({ clock, socketPath }: { clock: Clock; socketPath?: string | undefined }): HttpClient {
  return openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: ANSWER_MS,
    connectTimeoutMs: CONNECT_MS,
    idleTimeoutMs: SILENCE_MS,
    connections: CONNECTIONS,
    ...(socketPath === undefined ? {} : { socketPath }),
    toFault: registryHttpFault,
  });
}

export function registryHttpFault({ kind, url, why, cause }: HttpFailure): Fault {
  const sentence =
    kind === "oversized" ? `The response of ${url.host} is larger than ${MAX_BYTES} bytes.` : `${url.host} cannot be reached (${why}).`;
  return new Fault("REGISTRY_UNREACHABLE", sentence, { cause });
}
