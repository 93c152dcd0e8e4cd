import type { Clock } from "../../../lib/clock.ts";
import { BoundedMap } from "../../../lib/bounded-map.ts";
import { Fault } from "../../../lib/fault.ts";
import { type HttpClient, type HttpReply, retryAfterMs } from "../../../lib/http-client.ts";
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
  /**
   * A token server may refuse one scope and no other: REGISTRY_REFUSED then, REGISTRY_UNREACHABLE if it is away, and UPSTREAM_CREDENTIAL_FAILED if it refuses
   * the login itself. Default: UPSTREAM_CREDENTIAL_FAILED for all.
   */
  refusesByScope?: boolean | undefined;
  clock: Clock;
};

/** A refused login is not sent again so soon for other scopes, if the token server never accepted it: some lock the account. */
const REFUSED_LOGIN_MS = 15_000;

/** The tokens of one token server. Simultaneous calls for one token share one request. */
export function openBearerTokens(server: RegistryTokenServer, parts: BearerTokenDeps): BearerTokens {
  const { login, file, counts, clock } = parts;
  const tokens = new BoundedMap<string, RefreshingValue<string>>(MOST_TOKENS);
  /** Tokens that the registry has not accepted yet, by `Authorization`: tokens for invented names must not fill the file. */
  const untried = new BoundedMap<string, { scopes: string; until: number }>(MOST_TOKENS);
  const overdue = () =>
    new Fault(
      parts.refusesByScope ? "REGISTRY_UNREACHABLE" : "UPSTREAM_CREDENTIAL_FAILED",
      `The registry's token server ${server.realm.host} did not answer within ${REQUEST_MS / 1_000} s.`,
    );
  let hasToken = false;
  let refusedLogin: { fault: Fault; until: number } | undefined;

  const load = async (wanted: readonly string[], signal: AbortSignal): Promise<BearerToken> => {
    if (refusedLogin && clock.monotonic() < refusedLogin.until) throw refusedLogin.fault;
    const request = (scopes: readonly string[]) => requestToken(server, scopes, { ...parts, signal });
    try {
      const token = await request(wanted);
      hasToken = true;
      return token;
    } catch (error) {
      if (!login || !(error instanceof Fault) || error.code !== "REGISTRY_REFUSED") throw error;
      // Only a token without a scope tells whether the login is refused.
      const failed = wanted.length === 0 ? error : await request([]).then(() => undefined, toFault);
      if (failed?.code !== "REGISTRY_REFUSED") throw failed ?? error;
      const fault = new Fault("UPSTREAM_CREDENTIAL_FAILED", failed.message);
      if (!hasToken) refusedLogin = { fault, until: clock.monotonic() + REFUSED_LOGIN_MS };
      throw fault;
    }
  };

  const tokenFor = (scopes: string): RefreshingValue<string> => {
    const existing = tokens.get(scopes);
    if (existing) return existing;
    const wanted = scopes === "" ? [] : scopes.split(" ");
    const made = openRefreshingValue({
      load: async (closing) => {
        const limit = { clock, ms: REQUEST_MS, overdue, signal: closing };
        const token = await withTimeout(limit, (signal) => load(wanted, signal));
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
 * Tries three times if the server is away or overloaded. Faults: UPSTREAM_CREDENTIAL_FAILED; with `refusesByScope` REGISTRY_REFUSED and REGISTRY_UNREACHABLE.
 */
export async function requestToken(
  server: RegistryTokenServer,
  scopes: readonly string[],
  {
    login,
    loginSource = LOGIN_SOURCE,
    refusesByScope = false,
    http,
    clock,
    signal,
  }: Pick<BearerTokenDeps, "login" | "loginSource" | "refusesByScope" | "http" | "clock"> & { signal: AbortSignal },
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
    if (!passing || tries === TRIES) throw failure(reply, { server: url.host, hasScope: scopes.length > 0, login, loginSource, refusesByScope });
    const pauseMs = backoffDelay(RETRY, tries);
    await clock.sleep(reply instanceof Fault ? pauseMs : Math.min(Math.max(pauseMs, retryAfterMs(reply, clock.now()) ?? 0), RETRY.longestMs), signal);
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

function failure(
  reply: HttpReply | Fault,
  {
    server,
    hasScope,
    login,
    loginSource,
    refusesByScope,
  }: { server: string; hasScope: boolean; loginSource: string } & Pick<BearerTokenDeps, "login" | "refusesByScope">,
): Fault {
  if (reply instanceof Fault)
    return new Fault(
      refusesByScope ? "REGISTRY_UNREACHABLE" : "UPSTREAM_CREDENTIAL_FAILED",
      `The registry's token server cannot be reached: ${reply.message}`,
      { cause: reply },
    );
  const { status } = reply;
  if (status !== 401 && status !== 403) {
    const code = !refusesByScope ? "UPSTREAM_CREDENTIAL_FAILED" : status === 429 || status >= 500 ? "REGISTRY_UNREACHABLE" : "REGISTRY_REFUSED";
    return new Fault(code, `The registry's token server ${server} answered ${status}.`);
  }
  if (refusesByScope && hasScope)
    return new Fault(
      "REGISTRY_REFUSED",
      `The registry has no such repository, or its token server ${server} refuses it ${login ? "to berth's login" : `without a login: set ${loginSource}`} (${status}).`,
    );
  const sentence = login
    ? `The registry's token server ${server} refuses ${loginSource} (${status}).`
    : `The registry's token server ${server} wants a login (${status}): set ${loginSource}.`;
  return new Fault(refusesByScope ? "REGISTRY_REFUSED" : "UPSTREAM_CREDENTIAL_FAILED", sentence);
}

function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  throw error;
}
