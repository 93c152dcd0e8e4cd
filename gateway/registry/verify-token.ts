import { hash } from "node:crypto";
import NodeCache from "node-cache";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { verifyToken, LONGEST_TOKEN } from "../../lib/jwks/verify-token.ts";
import { type Signers, openSigners } from "../../lib/jwks/signers.ts";
import type { Log } from "../../lib/log.ts";
import type { IdentityServer } from "../api-backend.ts";

/** One entry of a token's `access`: what may be done with one thing. */
export type AccessEntry = { type: string; name: string; actions: readonly string[] };

/** A token that was found good. Without `access` it is good for everything. */
export type TokenGrant = { subject: string; access: readonly AccessEntry[] | undefined };

/** Faults: TOKEN_INVALID; those of the keys and the issuer where neither is known and nobody can be asked. */
export type VerifyToken = (token: string) => TokenGrant | Promise<TokenGrant>;

/** Who signs tokens is asked for each one that is not remembered; `audience` is for whom they must be. */
export type TokenVerifierDeps = Signers & { audience: string; clock: Clock };

/** As every signed token looks. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const MOST_REMEMBERED = 10_000;

type CachedGrant = { granted: TokenGrant; version: number; until: number };

/** Verifies tokens of `{identity}/docker/token`, and remembers those that were found good. */
export function openTokenVerifier({ keys, issuer, audience, clock }: TokenVerifierDeps): { verify: VerifyToken; close(): void } {
  const remembered = new NodeCache({ useClones: false, stdTTL: 3_600, maxKeys: MOST_REMEMBERED });

  const judge = async (token: string, digest: string): Promise<TokenGrant> => {
    // As it was before: a key that goes while this goes on is noticed by the next look.
    const version = await keys.version();
    const payload = await verifyToken(token, { keys, issuer, audience, clock });
    if (payload["lim"] !== "docker") throw new Fault("TOKEN_INVALID", "The token is not for a registry");
    const granted: TokenGrant = { subject: payload.sub ?? "", access: readAccess(payload["access"]) };
    if (remembered.getStats().keys >= MOST_REMEMBERED) remembered.flushAll();
    remembered.set(digest, { granted, version, until: (payload.exp ?? 0) * 1_000 } satisfies CachedGrant);
    return granted;
  };

  return {
    verify: (token) => {
      if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is longer than any token is");
      // The one for who only reads, for instance: nobody has to be asked about it.
      if (!COMPACT.test(token)) throw new Fault("TOKEN_INVALID", "This token lets nobody do more than read; sign in first");
      const digest = hash("sha256", token);
      const found = remembered.get<CachedGrant>(digest);
      if (found === undefined) return judge(token, digest);
      const recall = (version: number) => (found.version === version && clock.now() < found.until ? found.granted : judge(token, digest));
      const version = keys.version();
      return typeof version === "number" ? recall(version) : version.then(recall);
    },
    close: () => remembered.close(),
  };
}

export function allows({ access }: TokenGrant, repository: string, action: string): boolean {
  if (access === undefined) return true;
  return access.some((one) => one.type === "repository" && one.name === repository && (one.actions.includes(action) || one.actions.includes("*")));
}

function readAccess(access: unknown): readonly AccessEntry[] | undefined {
  if (access === undefined) return undefined;
  if (Array.isArray(access) && access.every(isAccess)) return access;
  throw new Fault("TOKEN_INVALID", "What the token allows cannot be read");
}

function isAccess(one: unknown): one is AccessEntry {
  if (typeof one !== "object" || one === null) return false;
  const { type, name, actions } = one as Partial<AccessEntry>;
  return typeof type === "string" && typeof name === "string" && Array.isArray(actions) && actions.every((action) => typeof action === "string");
}

/** Verification with the keys and the issuer that the identity server has; neither is asked for before the first token comes. */
export function openVerification(parts: {
  identity: Pick<IdentityServer, "get" | "keys" | "anyIssuer">;
  /** Where unset, it is the identity server's own `webRoot`, or any where that has no other tokens. */
  issuer: string | undefined;
  audience: string;
  clock: Clock;
  log: Log;
}): { verify: VerifyToken; close(): void } {
  return openTokenVerifier({ ...parts, ...openSigners({ ...parts, server: parts.identity }) });
}
