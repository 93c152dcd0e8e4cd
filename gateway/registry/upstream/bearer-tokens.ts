import type { Clock } from "../../../lib/clock.ts";
import { BoundedMap } from "../../../lib/bounded-map.ts";
import { Fault } from "../../../lib/fault.ts";
import type { HttpClient } from "../../../lib/http-client.ts";
import type { RegistryLogin } from "../../../lib/registry-client/registry-login.ts";
import type { RegistryTokenServer } from "../../../lib/registry-client/registry-token.ts";
import { type RefreshCounts, openRefreshingToken, type RefreshingToken } from "../../../lib/refreshing-token.ts";
import type { TokenFile } from "./token-file.ts";
import { askToken } from "./token-server.ts";

/** Repository names are what clients make up: beyond so many, the token that was used first is forgotten. */
const MOST_TOKENS = 1_000;
const ASK_MS = 20_000;

export type BearerTokens = {
  /** A token with these scopes, sorted and parted by spaces; as an `Authorization`. */
  get(scopes: string, signal: AbortSignal): string | Promise<string>;
  renew(scopes: string, signal: AbortSignal): Promise<string>;
  /** The registry let something be done with this one: it goes to the file. */
  accepted(authorization: string): void;
  close(): void;
};

/** The tokens of one token server, each asked for once however many want it at the same time. */
export function openBearerTokens(
  server: RegistryTokenServer,
  parts: { login: RegistryLogin | undefined; http: HttpClient; file: TokenFile | undefined; counts?: RefreshCounts | undefined; clock: Clock },
): BearerTokens {
  const { login, http, file, counts, clock } = parts;
  const tokens = new BoundedMap<string, RefreshingToken<string>>(MOST_TOKENS);
  /** By the `Authorization`, what was not of use yet: tokens for names that somebody made up would leave the file no room. */
  const untried = new BoundedMap<string, { scopes: string; until: number }>(MOST_TOKENS);
  const overdue = () =>
    new Fault("UPSTREAM_CREDENTIAL_FAILED", `The registry's token server ${server.realm.host} did not answer within ${ASK_MS / 1_000} s.`);

  const tokenFor = (scopes: string): RefreshingToken<string> => {
    const known = tokens.get(scopes);
    if (known) return known;
    // Who still waits for it keeps hold of it.
    const made = openRefreshingToken({
      ask: async (signal) => {
        const token = await askToken(server, scopes === "" ? [] : scopes.split(" "), { login, http, clock, signal });
        if (file) {
          untried.set(token.value, { scopes, until: clock.monotonic() + token.lifeMs });
        }
        return token;
      },
      askMs: ASK_MS,
      overdue,
      counts,
      clock,
    });
    tokens.set(scopes, made);
    return made;
  };

  return {
    get: (scopes, signal) => tokenFor(scopes).get(signal),
    renew: (scopes, signal) => tokenFor(scopes).renew(signal),
    accepted: (authorization) => {
      const found = untried.get(authorization);
      if (found === undefined || !untried.delete(authorization)) return;
      file?.keep(found.scopes, authorization, found.until - clock.monotonic());
    },
    close: () => {
      for (const token of tokens.values()) token.close();
      tokens.clear();
    },
  };
}
