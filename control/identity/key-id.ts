import { randomBytes } from "node:crypto";

/** Names a developer key among its user's: short, since people type it, and no part of the key. */
export function keyId(): string {
  return randomBytes(4).toString("hex");
}
