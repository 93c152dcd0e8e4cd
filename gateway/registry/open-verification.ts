import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Log } from "../../log.ts";
import { openFetched } from "./fetched.ts";
import type { IdentityServer } from "./identity-server.ts";
import { openKeySet } from "./key-set.ts";
import { readKeys } from "./read-keys.ts";
import { openVerifyToken, type VerifyToken } from "./verify-token.ts";

const ISSUER_FRESH_MS = 10 * 60_000;
/** What is wrong there may be mended. */
const RETRY_MS = 10_000;

/** Verification with the keys and the issuer that the identity server has; neither is asked for before the first token comes. */
export function openVerification(parts: {
  identity: Pick<IdentityServer, "get" | "keys" | "anyIssuer">;
  /** Where unset, it is the identity server's own `webRoot`, or any where that has no other tokens. */
  issuer: string | undefined;
  audience: string;
  clock: Clock;
  log: Log;
}): { verify: VerifyToken; close(): void } {
  const { identity, audience, clock, log } = parts;
  const keys = openKeySet({
    ...identity.keys,
    fetch: async () => {
      const found = readKeys(await identity.get("/api/docker/keys"));
      if (found === undefined)
        throw new Fault("TOKEN_KEYS_UNKNOWN", "What is published as keys of tokens is none: see /docker/keys of that server", {
          retryAfterMs: RETRY_MS,
        });
      return found;
    },
    clock,
    onFailure: (err) => log.warn({ err }, "The keys of tokens cannot be had; those known before are used on"),
  });
  const webRoot = openFetched<string>({
    fetch: async () => readWebRoot(await identity.get("/api/admin/startup_data")),
    freshMs: ISSUER_FRESH_MS,
    clock,
    onFailure: (err) => log.warn({ err }, "Who signs tokens cannot be asked; DATAGROK_ISSUER says it without"),
  });
  const { issuer } = parts;
  return openVerifyToken({ keys, issuer: issuer !== undefined || identity.anyIssuer ? () => issuer : webRoot.get, audience, clock });
}

/** Faults: TOKEN_KEYS_UNKNOWN. */
function readWebRoot(text: string): string {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    // Said below.
  }
  if (typeof data === "object" && data !== null && "webRoot" in data && typeof data.webRoot === "string" && data.webRoot !== "") return data.webRoot;
  throw new Fault(
    "TOKEN_KEYS_UNKNOWN",
    "The server does not say at which address it is (webRoot), so who signs its tokens is not known: set DATAGROK_ISSUER",
  );
}
