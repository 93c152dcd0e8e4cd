import { createHash } from "node:crypto";

/**
 * What is stored of a token or key. They are random and long, so a plain SHA-256 keeps them secret, and looking one up by its digest
 * tells nothing by the time it takes.
 */
export function digest(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
