import { randomUUID } from "node:crypto";
import { calculateJwkThumbprint, exportJWK, exportPKCS8, generateKeyPair, importPKCS8, type JWTPayload, SignJWT } from "jose";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { SigningKey } from "../model/records.ts";
import { signingKeyContext, unlessKeyMissing, type Vault } from "../packages/credentials/open-vault.ts";
import type { Store } from "../store/open-store.ts";

const SIGNING_ALGORITHM = "RS256";
/** The lifetime of a docker token. */
export const TOKEN_SECONDS = 1_800;
/** The tolerated difference of a verifier's clock. */
const LEEWAY_SECONDS = 60;
const MODULUS_BITS = 2_048;
/** Keeps the list short for verifiers if a script rotates in a loop. */
const MOST_PUBLISHED = 10;

/** A key as verifiers receive it (RFC 7517). */
export type PublishedKey = SigningKey["publicKey"] & { kid: string; alg: string; use: "sig" };
/** A key as administrators see it: `publishedUntil` is undefined while it signs. */
export type SigningKeyInfo = Pick<SigningKey, "kid" | "createdOn" | "retiredOn"> & { publishedUntil: number | undefined };

/** The keys that sign tokens. The first is created at its first use. All of them are in the store, so a restart changes nothing. */
export type SigningKeys = {
  /** The one that signs. Faults: CREDENTIALS_UNREADABLE while the key that seals it is missing and a new one cannot be sealed either. */
  signer(): Promise<{ kid: string; key: CryptoKey }>;
  /** The keys that verify valid tokens: never empty. A new key is published before its first token. */
  published(): Promise<PublishedKey[]>;
  /** The published ones, the newest first. */
  all(): Promise<SigningKeyInfo[]>;
  /** A new key signs from now on. The previous one stays published until its last token expires. Faults: REQUEST_INVALID, CREDENTIALS_UNREADABLE. */
  rotate(): Promise<{ kid: string }>;
  /** Its tokens become invalid as soon as verifiers reload the keys. If it is the key that signs, the next token creates another. Faults: SIGNING_KEY_NOT_FOUND. */
  revoke(kid: string): Promise<void>;
};

/** `longestSeconds`: the longest lifetime of what the keys sign, if that is longer than a docker token's. */
export function createSigningKeys(parts: {
  store: Store;
  vault: Pick<Vault, "seal" | "open">;
  clock: Clock;
  log: Log;
  longestSeconds?: number;
}): SigningKeys {
  const { store, vault, clock, log } = parts;
  const publishedAfterMs = (Math.max(TOKEN_SECONDS, parts.longestSeconds ?? 0) + LEEWAY_SECONDS) * 1_000;
  let opened: { kid: string; key: CryptoKey } | undefined;
  let making: Promise<{ kid: string; key: CryptoKey }> | undefined;

  const endOf = ({ retiredOn }: SigningKey) => (retiredOn === undefined ? undefined : retiredOn + publishedAfterMs);
  const good = async () => (await store.signingKeys.all()).filter((row) => (endOf(row) ?? Number.POSITIVE_INFINITY) > clock.now());
  const current = async () => (await store.signingKeys.all()).find(({ retiredOn }) => retiredOn === undefined);

  const make = async () => {
    const { pair, publicKey, kid } = await newPair();
    const pem = await exportPKCS8(pair.privateKey);
    const key = await importPKCS8(pem, SIGNING_ALGORITHM);
    await store.transaction(async () => {
      // In the transaction, so that the vault's key does not rotate meanwhile.
      const sealed = await vault.seal(signingKeyContext(kid), pem);
      await store.signingKeys.removeRetiredBefore(clock.now() - publishedAfterMs);
      await store.signingKeys.retire(clock.now());
      await store.signingKeys.insert({ kid, publicKey, ...sealed, createdOn: clock.now(), retiredOn: undefined });
    });
    log.info({ kid }, "made a key that signs tokens");
    opened = { kid, key };
    return opened;
  };

  /** Undefined: there is none, or the key that seals it is missing. */
  const openCurrent = async () => {
    const row = await current();
    if (!row || opened?.kid === row.kid) return row && opened;
    const pem = await unlessKeyMissing(async () => vault.open(signingKeyContext(row.kid), row, "The key that signs docker tokens"));
    if (pem === undefined) {
      log.warn({ kid: row.kid }, "the key that signs docker tokens cannot be opened: another one takes its place");
      return undefined;
    }
    opened = { kid: row.kid, key: await importPKCS8(pem, SIGNING_ALGORITHM) };
    return opened;
  };

  const openOrMake = async () => (await openCurrent()) ?? make();
  const signer: SigningKeys["signer"] = async () => (await openCurrent()) ?? (await (making ??= openOrMake().finally(() => (making = undefined))));

  return {
    signer,
    published: async () => {
      try {
        await signer();
      } catch (error) {
        // Earlier tokens must still be verified.
        if (!(error instanceof Fault) || (await good()).length === 0) throw error;
      }
      return (await good()).map(({ kid, publicKey }) => ({ ...publicKey, kid, alg: SIGNING_ALGORITHM, use: "sig" }));
    },
    all: async () => (await good()).map((row) => ({ kid: row.kid, createdOn: row.createdOn, retiredOn: row.retiredOn, publishedUntil: endOf(row) })),
    rotate: async () => {
      if ((await good()).length >= MOST_PUBLISHED)
        throw new Fault("REQUEST_INVALID", `${MOST_PUBLISHED} keys are published already: wait until the oldest one ends, or revoke one.`);
      const { kid } = await make();
      return { kid };
    },
    revoke: async (kid) => {
      if (!(await store.signingKeys.remove(kid))) throw new Fault("SIGNING_KEY_NOT_FOUND", `There is no key ${kid.slice(0, 100)}.`);
      log.info({ kid }, "revoked a key that signed docker tokens");
    },
  };
}

/** One key in 64 would have a name that begins with a dash, which a command line takes for an option. */
async function newPair() {
  for (;;) {
    const pair = await generateKeyPair(SIGNING_ALGORITHM, { modulusLength: MODULUS_BITS, extractable: true });
    const { n = "", e = "" } = await exportJWK(pair.publicKey);
    const publicKey = { kty: "RSA", n, e } as const;
    const kid = await calculateJwkThumbprint(publicKey, "sha256");
    if (!kid.startsWith("-")) return { pair, publicKey, kid };
  }
}

export type SignerDeps = { signingKeys: Pick<SigningKeys, "signer">; clock: Pick<Clock, "now"> };

type TokenClaims = {
  /** The one service at which the token is valid, so that another that trusts the same keys refuses it. */
  limit: "docker" | "spawner" | "queue" | "pipe";
  issuer: string | undefined;
  audience: string | undefined;
  subject: string;
  seconds: number;
  /** When the rights were read, epoch ms; undefined: now. */
  issuedOn?: number;
  /** Claims of this limit. */
  more?: JWTPayload;
};

/** Signs a token that is valid from now on; nothing of it is stored. `issuedAt` is in seconds of the epoch. Faults: CREDENTIALS_UNREADABLE. */
export async function signToken({ signingKeys, clock }: SignerDeps, claims: TokenClaims): Promise<{ token: string; issuedAt: number }> {
  const { limit, issuer, audience, subject, seconds, issuedOn, more } = claims;
  const { kid, key } = await signingKeys.signer();
  const issuedAt = Math.floor((issuedOn ?? clock.now()) / 1_000);
  const unsigned = new SignJWT({ lim: limit, ...more })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: "JWT", kid })
    .setSubject(subject)
    .setIssuedAt(issuedAt)
    .setNotBefore(issuedAt)
    .setExpirationTime(issuedAt + seconds)
    .setJti(randomUUID());
  if (issuer !== undefined) unsigned.setIssuer(issuer);
  if (audience !== undefined) unsigned.setAudience(audience);
  return { token: await unsigned.sign(key), issuedAt };
}

type ServiceTokenClaims = { issuer: string | undefined; audience: string };

/** Each call to a spawner has its own token: long enough for clock differences and a retry. */
const SPAWNER_TOKEN_SECONDS = 300;

/** Signs that this server calls a spawner. Faults: CREDENTIALS_UNREADABLE. */
export async function spawnerToken(deps: SignerDeps, claims: ServiceTokenClaims): Promise<string> {
  return (await signToken(deps, { ...claims, limit: "spawner", subject: "berth", seconds: SPAWNER_TOKEN_SECONDS })).token;
}

/** What RabbitMQ grants to a token: everything in every virtual host, but no administration. It ignores a scope that does not begin with its own id, the audience. */
const QUEUE_RIGHTS = ["configure", "read", "write"];

/** For a container that connects to the queue: the token is its password, and `service`, the subject, its user name there. Faults: CREDENTIALS_UNREADABLE. */
export async function queueToken(deps: SignerDeps, claims: ServiceTokenClaims & { service: string; seconds: number }): Promise<string> {
  const { service, ...others } = claims;
  const scope = QUEUE_RIGHTS.map((right) => `${claims.audience}.${right}:*/*`).join(" ");
  return (await signToken(deps, { ...others, limit: "queue", subject: service, more: { scope } })).token;
}

/** For a container that connects to the pipe: the token is its key there. Faults: CREDENTIALS_UNREADABLE. */
export async function pipeToken(deps: SignerDeps, claims: ServiceTokenClaims & { service: string; seconds: number }): Promise<string> {
  const { service, ...others } = claims;
  return (await signToken(deps, { ...others, limit: "pipe", subject: service })).token;
}
