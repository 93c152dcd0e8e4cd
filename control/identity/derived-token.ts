import { createHmac } from "node:crypto";
import { digest } from "./tokens.ts";

/**
 * The token that containers are given in place of a session's own. It follows from the session's token, and that does not follow from it; so every gateway gets
 * the same one, and nothing but its digest is kept.
 */
export function derivedToken(token: string): string {
  return createHmac("sha256", token).update("berth: token for containers").digest("base64url");
}

export function derivedDigest(token: string): string {
  return digest(derivedToken(token));
}
