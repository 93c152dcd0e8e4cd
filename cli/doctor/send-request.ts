import type { IncomingHttpHeaders } from "node:http";
import { parseJson } from "../../lib/parse-json.ts";
import { systemClock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { type HttpClient, type HttpFailure, type HttpRequest, type HttpStream, openHttpClient, reasonOf } from "../../lib/http-client.ts";

type CheckResponse = { status: number; headers: IncomingHttpHeaders; text: string };

export type CheckRequest = {
  method?: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal: AbortSignal;
  /** The name in the server's certificate; default: that of the URL. "any" only for requests without secrets. */
  certificate?: string | undefined;
};

const CONNECT_MS = 5_000;
/** Each check's signal ends it long before. */
const TIMEOUT_MS = 3_600_000;
const MAX_BYTES = 16 * 1_048_576;

/** One request; it does not follow redirects. Faults: CHAIN_BROKEN without a response. */
export async function sendRequest(url: string | URL, request: CheckRequest): Promise<CheckResponse> {
  return send(url, request, async (client, request) => {
    const { status, headers, text } = await client.request(request);
    return { status, headers, text: text() };
  });
}

/** The same with a streamed response, which is closed after `take`. */
export async function streamResponse<T>(url: string | URL, request: CheckRequest, take: (response: HttpStream) => Promise<T>): Promise<T> {
  return send(url, request, async (client, request) => take(await client.stream(request)));
}

async function send<T>(
  url: string | URL,
  { certificate, ...request }: CheckRequest,
  task: (client: HttpClient, request: HttpRequest) => Promise<T>,
): Promise<T> {
  const toFault = ({ kind, why, cause }: HttpFailure) =>
    new Fault("CHAIN_BROKEN", kind === "oversized" ? `${withoutSecrets(url)}: ${why}.` : `${withoutSecrets(url)} cannot be reached: ${why}.`, {
      cause,
    });
  const options = certificate === undefined ? {} : certificate === "any" ? { rejectUnauthorized: false } : { servername: certificate };
  const client = openHttpClient({
    clock: systemClock(),
    maxBytes: MAX_BYTES,
    timeoutMs: TIMEOUT_MS,
    connectTimeoutMs: CONNECT_MS,
    options,
    toFault,
  });
  try {
    return await task(client, { ...request, url });
  } catch (error) {
    request.signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    throw toFault({ kind: "broken", url: new URL(url), why: reasonOf(error), cause: error });
  } finally {
    client.close();
  }
}

/** A URL may contain a password, and its query a key. */
export function withoutSecrets(url: string | URL): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

type DockerTokenRequest = { key: string; service: string; scope?: string; certificate?: string | undefined; signal: AbortSignal };

/** A docker token from the `/token` at `url` for a developer key; undefined if there is none for that key. Faults: CHAIN_BROKEN. */
export async function requestDockerToken(url: string, { key, service, scope, certificate, signal }: DockerTokenRequest): Promise<string | undefined> {
  const query = new URLSearchParams({ service, ...(scope === undefined ? {} : { scope }) });
  const headers = { authorization: `Basic ${Buffer.from(`any:${key}`).toString("base64")}` };
  const { text } = await sendRequest(`${url}?${query.toString()}`, { headers, certificate, signal });
  const { token } = (parseJson(text) ?? {}) as { token?: unknown };
  return typeof token === "string" && token.split(".").length === 3 ? token : undefined;
}
