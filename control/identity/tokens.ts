import { createHash, createHmac, randomBytes } from "node:crypto";

/**
 * The stored form of a token or key. They are random and long, so a plain SHA-256 keeps them secret, and the time of a look-up by digest reveals
 * nothing.
 */
export function tokenDigest(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/**
 * The token that containers are given in place of a session's own. It follows from the session's token, and that does not follow from it; so every gateway gets
 * the same one, and nothing but its digest is kept.
 */
export function derivedToken(token: string): string {
  return createHmac("sha256", token).update("berth: token for containers").digest("base64url");
}

export function derivedDigest(token: string): string {
  return tokenDigest(derivedToken(token));
}

/** The id of a developer key: short, since users type it, and not a part of the key. */
export function keyId(): string {
  return randomBytes(4).toString("hex");
}

/** 32 random bytes in base64url are 43 characters. Later kinds of tokens may be longer. */
const SESSION_TOKEN = /^[\w.~-]{43,512}$/;

/** Whether a text can be the token of a session of berth's own: what cannot is no token, without a look into the store. */
export function isSessionToken(text: string): boolean {
  return SESSION_TOKEN.test(text);
}
