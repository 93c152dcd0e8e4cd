import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { Sealed } from "../../model/records.ts";
import type { Key } from "./key-ring.ts";

/** What a sealed value belongs to. It is bound to it: a row that is copied to another place does not open there. */
export type About = readonly string[];

const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM under a nonce of its own; the box is nonce, tag and ciphertext. */
export function seal(key: Key, about: About, text: string): Sealed {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key.bytes, nonce, { authTagLength: TAG_BYTES }).setAAD(bound(about));
  const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return { keyId: key.id, box: Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64") };
}

/** Undefined where it was changed, or belongs to something else. */
export function unseal(key: Key, about: About, { box }: Sealed): string | undefined {
  const bytes = Buffer.from(box, "base64");
  try {
    const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(bound(about)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8");
  } catch {
    return undefined;
  }
}

/** As JSON, so that no two lists are the same text. */
function bound(about: About): Buffer {
  return Buffer.from(JSON.stringify(about));
}
