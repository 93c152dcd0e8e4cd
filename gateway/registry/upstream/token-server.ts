import type { Clock } from "../../../lib/clock.ts";
import { backoffDelay } from "../../../lib/backoff.ts";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient, HttpReply } from "../../../lib/http-client.ts";
import { basicAuthorization, type RegistryLogin } from "../../../lib/registry-client/registry-login.ts";
import { type RegistryTokenServer, tokenReplyIn, tokenUrl } from "../../../lib/registry-client/registry-token.ts";
import type { TokenLease } from "../../../lib/refreshing-token.ts";

/** What the token protocol lets be taken for granted where `expires_in` is missing. */
const USUAL_SECONDS = 60;
const LONGEST_SECONDS = 86_400;
const TRIES = 3;
const RETRY = { firstMs: 300, longestMs: 5_000 };

/**
 * Asks a registry's token server for a token with these scopes: `GET realm?service=…&scope=…`, with the name and password where a login is
 * given. Tries three times where the server is away, overloaded or asks for patience. Faults: UPSTREAM_CREDENTIAL_FAILED.
 */
export async function askToken(
  server: RegistryTokenServer,
  scopes: readonly string[],
  { login, http, clock, signal }: { login: RegistryLogin | undefined; http: HttpClient; clock: Clock; signal: AbortSignal },
): Promise<TokenLease<string>> {
  const url = tokenUrl(server, scopes, { client_id: "berth", ...(login && { account: login.username }) });
  const headers = { accept: "application/json", ...(login ? { authorization: basicAuthorization(login) } : {}) };
  for (let tries = 1; ; tries++) {
    const reply = await http.request({ method: "GET", url: url.href, headers, signal }).catch((error: unknown) => {
      if (signal.aborted || !(error instanceof Fault)) throw error;
      return error;
    });
    if (!(reply instanceof Fault) && reply.status === 200) return readToken(reply, url.host);
    const passing = reply instanceof Fault || reply.status === 429 || reply.status >= 500;
    if (!passing || tries === TRIES) throw failure(reply, url.host, login);
    const pauseMs = backoffDelay(RETRY, tries);
    await clock.sleep(reply instanceof Fault ? pauseMs : Math.min(Math.max(pauseMs, retryAfterMs(reply)), RETRY.longestMs), signal);
  }
}

function readToken(reply: HttpReply, server: string): TokenLease<string> {
  const failed = (what: string) => new Fault("UPSTREAM_CREDENTIAL_FAILED", `The registry's token server ${server} answered without ${what}.`);
  const answer = tokenReplyIn(reply);
  if (answer === undefined) throw failed("JSON");
  const { token, expiresIn } = answer;
  // It becomes a header line.
  if (typeof token !== "string" || !/^[\x21-\x7e]{1,32768}$/.test(token)) throw failed("a token");
  const told = Number(expiresIn ?? USUAL_SECONDS);
  const lifeMs = (told > 0 ? Math.min(told, LONGEST_SECONDS) : USUAL_SECONDS) * 1_000;
  // The rest is for its way there and back, and for clocks that differ a little.
  return { value: `Bearer ${token}`, lifeMs: lifeMs * 0.9, renewMs: lifeMs * 0.75 };
}

function failure(reply: HttpReply | Fault, server: string, login: RegistryLogin | undefined): Fault {
  const sentence =
    reply instanceof Fault
      ? `The registry's token server cannot be reached: ${reply.message}`
      : reply.status !== 401 && reply.status !== 403
        ? `The registry's token server ${server} answered ${reply.status}.`
        : login
          ? `The registry's token server ${server} refuses REGISTRY_USERNAME and REGISTRY_PASSWORD (${reply.status}).`
          : `The registry's token server ${server} wants a login (${reply.status}): set REGISTRY_USERNAME and REGISTRY_PASSWORD.`;
  return new Fault("UPSTREAM_CREDENTIAL_FAILED", sentence, reply instanceof Fault ? { cause: reply } : {});
}

function retryAfterMs(reply: HttpReply): number {
  const seconds = Number(reply.header("retry-after") ?? 0);
  return Number.isFinite(seconds) ? seconds * 1_000 : 0;
}
