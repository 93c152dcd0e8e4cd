import type { Clock } from "../clock.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { createRevalidatingValue } from "../revalidating-value.ts";
import type { KeyServer } from "./key-server.ts";
import { type KeySet, openKeySet } from "./key-set.ts";
import { parseKeys } from "./parse-keys.ts";
import { parseReply } from "../parse-reply.ts";

const ISSUER_FRESH_MS = 10 * 60_000;
/** What is wrong there may be mended. */
const RETRY_MS = 10_000;

/** Who may sign tokens: the keys, and whom those who hold them must name as the issuer; undefined: anybody. */
export type Signers = { keys: KeySet; issuer(): string | undefined | Promise<string> };

/** The keys and the issuer that the server has; neither is asked for before the first token comes. */
export function openSigners(parts: {
  server: Pick<KeyServer, "get" | "keys" | "anyIssuer">;
  /** Where unset, it is the server's own `webRoot`, or any where that has no other tokens. */
  issuer: string | undefined;
  clock: Clock;
  log: Log;
}): Signers {
  const { server, issuer, clock, log } = parts;
  const keys = openKeySet({
    ...server.keys,
    fetch: async () => {
      const found = parseKeys(await server.get("/api/docker/keys"));
      if (found === undefined)
        throw new Fault("TOKEN_KEYS_UNKNOWN", "What is published as keys of tokens is none: see /docker/keys of that server", {
          retryAfterMs: RETRY_MS,
        });
      return found;
    },
    clock,
    onFailure: (err) => log.warn({ err }, "The keys of tokens cannot be had; those known before are used on"),
  });
  const webRoot = createRevalidatingValue<string>({
    fetch: async () => readWebRoot(await server.get("/api/admin/startup_data")),
    freshMs: ISSUER_FRESH_MS,
    clock,
    onFailure: (err) => log.warn({ err }, "Who signs tokens cannot be asked; DATAGROK_ISSUER says it without"),
  });
  return { keys, issuer: issuer !== undefined || server.anyIssuer ? () => issuer : webRoot.get };
}

/** Faults: TOKEN_KEYS_UNKNOWN. */
function readWebRoot(text: string): string {
  const data = parseReply(text);
  if (typeof data === "object" && data !== null && "webRoot" in data && typeof data.webRoot === "string" && data.webRoot !== "") return data.webRoot;
  throw new Fault(
    "TOKEN_KEYS_UNKNOWN",
    "The server does not say at which address it is (webRoot), so who signs its tokens is not known: set DATAGROK_ISSUER",
  );
}
