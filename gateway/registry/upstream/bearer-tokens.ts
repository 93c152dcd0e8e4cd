import type { Clock } from "../../../lib/clock.ts";
import { BoundedMap } from "../../../lib/bounded-map.ts";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient, HttpReply } from "../../../lib/http-client.ts";
import {
  type RegistryLogin,
  basicAuthorization,
  type RegistryTokenServer,
  tokenReplyIn,
  tokenUrl,
} from "../../../lib/registry-client/registry-login.ts";
import { type RefreshCounts, type LoadedValue, openRefreshingValue, type RefreshingValue } from "../../../lib/refreshing-value.ts";
import { withTimeout } from "../../../lib/deadline.ts";
import type { TokenFile } from "./token-file.ts";
import { NEW_CREDENTIAL_MS, stoppingFault } from "./upstream.ts";
import { backoffDelay } from "../../../lib/backoff.ts";

/** Clients invent repository names. Beyond this number the oldest token is dropped. */
const MOST_TOKENS = 1_000;
const REQUEST_MS = 20_000;

export type BearerTokens = {
  /** A token with these scopes, which are sorted and separated by spaces; as an `Authorization`. */
  get(scopes: string, signal: AbortSignal): string | Promise<string>;
  renew(scopes: string, signal: AbortSignal): Promise<string>;
  /** The registry accepted this one: it goes to the file. */
  accepted(authorization: string): void;
  close(): void;
};

/** The settings with the login, for messages. */
export const LOGIN_SOURCE = "REGISTRY_USERNAME and REGISTRY_PASSWORD";

export type BearerTokenDeps = {
  login: RegistryLogin | undefined;
  /** Where the login is set, for messages. Default: LOGIN_SOURCE. */
  loginSource?: string | undefined;
  http: HttpClient;
  file: TokenFile | undefined;
  counts?: RefreshCounts | undefined;
  clock: Clock;
};

/** The tokens of one token server. Simultaneous calls for one token share one request. */
export function openBearerTokens(server: RegistryTokenServer, parts: BearerTokenDeps): BearerTokens {
  const { login, loginSource, http, file, counts, clock } = parts;
  const tokens = new BoundedMap<string, RefreshingValue<string>>(MOST_TOKENS);
  /** Tokens that the registry has not accepted yet, by `Authorization`: tokens for invented names must not fill the file. */
  const untried = new BoundedMap<string, { scopes: string; until: number }>(MOST_TOKENS);
  const overdue = () =>
    new Fault("UPSTREAM_CREDENTIAL_FAILED", `The registry's token server ${server.realm.host} did not answer within ${REQUEST_MS / 1_000} s.`);

  const tokenFor = (scopes: string): RefreshingValue<string> => {
    const existing = tokens.get(scopes);
    if (existing) return existing;
    const wanted = scopes === "" ? [] : scopes.split(" ");
    const made = openRefreshingValue({
      load: async (closing) => {
        const limit = { clock, ms: REQUEST_MS, overdue, signal: closing };
        const token = await withTimeout(limit, (signal) => requestToken(server, wanted, { login, loginSource, http, clock, signal }));
        if (file) untried.set(token.value, { scopes, until: clock.monotonic() + token.lifeMs });
        return token;
      },
      counts,
      clock,
    });
    tokens.set(scopes, made);
    return made;
  };

  return {
    get: (scopes, signal) => tokenFor(scopes).get(signal),
    renew: (scopes, signal) => tokenFor(scopes).renew(NEW_CREDENTIAL_MS, signal),
    accepted: (authorization) => {
      const token = untried.get(authorization);
      if (token === undefined || !untried.delete(authorization)) return;
      file?.keep(token.scopes, authorization, token.until - clock.monotonic());
    },
    close: () => {
      for (const token of tokens.values()) token.close(stoppingFault());
      tokens.clear();
    },
  };
}

/** The token protocol's default for `expires_in`. */
const USUAL_SECONDS = 60;
const LONGEST_SECONDS = 86_400;
const TRIES = 3;
const RETRY = { firstMs: 300, longestMs: 5_000 };

type BearerToken = LoadedValue<string> & { lifeMs: number };

/**
 * Requests a token with these scopes from a registry's token server: `GET realm?service=…&scope=…`, with the name and password if there is a login.
 * Tries three times if the server is away or overloaded. Faults: UPSTREAM_CREDENTIAL_FAILED.
 */
export async function requestToken(
  server: RegistryTokenServer,
  scopes: readonly string[],
  {
    login,
    loginSource = LOGIN_SOURCE,
    http,
    clock,
    signal,
  }: Pick<BearerTokenDeps, "login" | "loginSource" | "http" | "clock"> & { signal: AbortSignal },
): Promise<BearerToken> {
  const url = tokenUrl(server, scopes, { client_id: "berth", ...(login && { account: login.username }) });
  const headers = { accept: "application/json", ...(login ? { authorization: basicAuthorization(login) } : {}) };
  for (let tries = 1; ; tries++) {
    const reply = await http.request({ method: "GET", url: url.href, headers, signal }).catch((error: unknown) => {
      if (signal.aborted || !(error instanceof Fault)) throw error;
      return error;
    });
    if (!(reply instanceof Fault) && reply.status === 200) return readToken(reply, url.host);
    const passing = reply instanceof Fault || reply.status === 429 || reply.status >= 500;
    if (!passing || tries === TRIES) throw failure(reply, url.host, login, loginSource);
    const pauseMs = backoffDelay(RETRY, tries);
    await clock.sleep(reply instanceof Fault ? pauseMs : Math.min(Math.max(pauseMs, retryAfterMs(reply)), RETRY.longestMs), signal);
  }
}

function readToken(reply: HttpReply, server: string): BearerToken {
  const failed = (what: string) => new Fault("UPSTREAM_CREDENTIAL_FAILED", `The registry's token server ${server} answered without ${what}.`);
  const answer = tokenReplyIn(reply);
  if (answer === undefined) throw failed("JSON");
  const { token, expiresIn } = answer;
  // It will be a header line.
  if (typeof token !== "string" || !/^[\x21-\x7e]{1,32768}$/.test(token)) throw failed("a token");
  const seconds = Number(expiresIn ?? USUAL_SECONDS);
  const lifeMs = (seconds > 0 ? Math.min(seconds, LONGEST_SECONDS) : USUAL_SECONDS) * 1_000;
  // The rest is for the transfer, and for clocks that differ.
  return { value: `Bearer ${token}`, lifeMs: lifeMs * 0.9, freshMs: lifeMs * 0.75 };
}

function failure(reply: HttpReply | Fault, server: string, login: RegistryLogin | undefined, loginSource: string): Fault {
  const sentence =
    reply instanceof Fault
      ? `The registry's token server cannot be reached: ${reply.message}`
      : reply.status !== 401 && reply.status !== 403
        ? `The registry's token server ${server} answered ${reply.status}.`
        : login
          ? `The registry's token server ${server} refuses ${loginSource} (${reply.status}).`
          : `The registry's token server ${server} wants a login (${reply.status}): set ${loginSource}.`;
  return new Fault("UPSTREAM_CREDENTIAL_FAILED", sentence, reply instanceof Fault ? { cause: reply } : {});
}

function retryAfterMs(reply: HttpReply): number {
  const seconds = Number(reply.header("retry-after") ?? 0);
  return Number.isFinite(seconds) ? seconds * 1_000 : 0;
}
