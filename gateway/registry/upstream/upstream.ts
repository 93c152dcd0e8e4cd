import { type HttpClient, type HttpFailure, openHttpClient } from "../../../lib/http-client.ts";
import { createRegistryClient, type RegistryClient, type RegistryCredentials } from "../../../lib/registry-client/registry-client.ts";
import { Fault } from "../../../lib/fault.ts";
import type { ForwardTarget } from "../../decision.ts";
import type { Clock } from "../../../lib/clock.ts";

/** The registry behind the proxy. Faults of its credentials: UPSTREAM_CREDENTIAL_FAILED (502, says which action or setting is missing; never a secret). */
export type Upstream = RegistryCredentials & {
  target: ForwardTarget;
  /** Its Host header. */
  host: string;
  /** "" or a path before /v2, without a slash at its end. */
  basePath: string;
  /** Its own name of a repository (Docker Hub: library/). */
  nameOf(repository: string): string;
  /** The registry did what was asked with this Authorization: it is worth handing to programs beside this one. */
  accepted?(authorization: string): void;
  /** Before something is pushed to a repository: ECR makes it where it is missing. Single-flight, remembered. */
  beforePush?(repository: string, signal: AbortSignal): Promise<void>;
  /**
   * The registry answered a push with NAME_UNKNOWN: why the repository could not be made, where that was tried and refused; the fault
   * (REPOSITORY_NOT_MADE) says which right is missing. Until then such a refusal is no failure: the registry may make it by itself.
   */
  missingRepositoryFault?(repository: string): Fault | undefined;
  close(): Promise<void>;
};

/** A client of the registry behind, which signs in with berth's own credential and follows no redirect. */
export function upstreamClient(upstream: Upstream, http: Pick<HttpClient, "request">): RegistryClient {
  const scheme = "tls" in upstream.target && upstream.target.tls !== undefined ? "https" : "http";
  return createRegistryClient({ root: `${scheme}://${upstream.host}${upstream.basePath}`, http, credentials: upstream });
}

const CONNECT_MS = 5_000;
const SILENCE_MS = 15_000;
/** Callers have shorter limits of their own. */
const ANSWER_MS = 120_000;
const CONNECTIONS = 16;
const MAX_BYTES = 4 * 1_048_576;

/** For small requests to registries and token servers. With a `socketPath` every request goes there, whatever host it names. Faults: REGISTRY_UNREACHABLE. */
export function openRegistryHttp({ clock, socketPath }: { clock: Clock; socketPath?: string | undefined }): HttpClient {
  return openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: ANSWER_MS,
    connectTimeoutMs: CONNECT_MS,
    idleTimeoutMs: SILENCE_MS,
    connections: CONNECTIONS,
    ...(socketPath === undefined ? {} : { socketPath }),
    toFault,
  });
}

function toFault({ kind, url, why, cause }: HttpFailure): Fault {
  const sentence =
    kind === "oversized" ? `The response of ${url.host} is larger than ${MAX_BYTES} bytes.` : `${url.host} cannot be reached (${why}).`;
  return new Fault("REGISTRY_UNREACHABLE", sentence, { cause });
}
