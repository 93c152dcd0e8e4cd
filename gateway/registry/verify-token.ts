import { hash } from "node:crypto";
import NodeCache from "node-cache";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { verifyToken, LONGEST_TOKEN, type PrefetchSigners, type Signers, openSigners } from "../../lib/jwks/signers.ts";
import type { Log } from "../../lib/log.ts";
import type { IdentityServer } from "../api-backend.ts";
import type { RevokedTokens } from "../contract.ts";

/** One entry of a token's `access`: the actions on one object. */
type AccessEntry = { type: string; name: string; actions: readonly string[] };

/** The content of a valid token. Without `access` it allows everything. */
export type TokenGrant = {
  subject: string;
  access: readonly AccessEntry[] | undefined;
  /** Seconds of the epoch; 0 if the token does not say. */
  issuedAt: number;
};

/** Faults: TOKEN_INVALID; those of the keys and the issuer if they are neither cached nor available. */
export type VerifyToken = (token: string) => TokenGrant | Promise<TokenGrant>;

/** `audience`: the audience that tokens must have. */
type TokenVerifierDeps = Signers & { audience: string; clock: Clock };

/** The form of every signed token. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const MOST_REMEMBERED = 10_000;

type CachedGrant = { grant: TokenGrant; version: number; until: number };

/** Verifies tokens of `{identity}/docker/token`, and caches the valid ones. */
export function openTokenVerifier({ keys, issuer, audience, clock }: TokenVerifierDeps): { verify: VerifyToken; close(): void } {
  const remembered = new NodeCache({ useClones: false, stdTTL: 3_600, maxKeys: MOST_REMEMBERED });

  const verify = async (token: string, digest: string): Promise<TokenGrant> => {
    // The version from before: the next check notices a key that is removed meanwhile.
    const version = await keys.version();
    const payload = await verifyToken(token, { keys, issuer, audience, clock });
    if (payload["lim"] !== "docker") throw new Fault("TOKEN_INVALID", "The token is not for a registry");
    const grant: TokenGrant = { subject: payload.sub ?? "", access: readAccess(payload["access"]), issuedAt: payload.iat ?? 0 };
    if (remembered.getStats().keys >= MOST_REMEMBERED) remembered.flushAll();
    remembered.set(digest, { grant, version, until: (payload.exp ?? 0) * 1_000 } satisfies CachedGrant);
    return grant;
  };

  return {
    verify: (token) => {
      if (token.length > LONGEST_TOKEN) throw new Fault("TOKEN_INVALID", "The token is too long");
      // For example the anonymous token: it needs no verification.
      if (!COMPACT.test(token)) throw new Fault("TOKEN_INVALID", "This token allows only public pulls; sign in first");
      const digest = hash("sha256", token);
      const cached = remembered.get<CachedGrant>(digest);
      if (cached === undefined) return verify(token, digest);
      const recall = (version: number) => (cached.version === version && clock.now() < cached.until ? cached.grant : verify(token, digest));
      const version = keys.version();
      return typeof version === "number" ? recall(version) : version.then(recall);
    },
    close: () => remembered.close(),
  };
}

/** Tokens that their server revoked, though they are valid by themselves. */
export type RevokedGrants = { replace(tokens: readonly RevokedTokens[]): void; has(grant: TokenGrant): boolean };

export function createRevokedGrants(): RevokedGrants {
  let ofLogins = new Map<string, number>();
  let ofAll = Number.NEGATIVE_INFINITY;
  return {
    replace: (tokens) => {
      ofLogins = new Map();
      ofAll = Number.NEGATIVE_INFINITY;
      for (const { login, until } of tokens) {
        if (login === undefined) ofAll = until;
        else ofLogins.set(login, until);
      }
    },
    has: ({ subject, issuedAt }) => issuedAt <= Math.max(ofAll, ofLogins.get(subject) ?? ofAll),
  };
}

export function allows({ access }: TokenGrant, repository: string, action: string): boolean {
  if (access === undefined) return true;
  return access.some((one) => one.type === "repository" && one.name === repository && (one.actions.includes(action) || one.actions.includes("*")));
}

function readAccess(access: unknown): readonly AccessEntry[] | undefined {
  if (access === undefined) return undefined;
  if (Array.isArray(access) && access.every(isAccess)) return access;
  throw new Fault("TOKEN_INVALID", "The access list of the token is not valid");
}

function isAccess(one: unknown): one is AccessEntry {
  if (typeof one !== "object" || one === null) return false;
  const { type, name, actions } = one as Partial<AccessEntry>;
  return typeof type === "string" && typeof name === "string" && Array.isArray(actions) && actions.every((action) => typeof action === "string");
}

/** Verification with the keys and the issuer of the identity server. It requests neither before `prefetch` or the first token. */
export function openVerification(parts: {
  identity: Pick<IdentityServer, "get" | "keys" | "anyIssuer">;
  /** Undefined: the identity server's own `webRoot`, or any issuer if that server signs no other tokens. */
  issuer: string | undefined;
  audience: string;
  clock: Clock;
  log: Log;
}): { verify: VerifyToken; prefetch: PrefetchSigners; close(): void } {
  const signers = openSigners({ ...parts, server: parts.identity });
  return { ...openTokenVerifier({ ...parts, ...signers }), prefetch: signers.prefetch };
}
