import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import { type HttpClient, type HttpFailure, openHttpClient } from "../../../lib/http-client.ts";

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
