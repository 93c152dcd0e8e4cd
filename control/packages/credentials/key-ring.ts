import { createHash, randomBytes } from "node:crypto";

/** A key of AES-256. Its id is stored beside all that it sealed, and tells nothing about it. */
export type Key = { id: string; bytes: Buffer };

const KEY_BYTES = 32;

/** 32 bytes as base64 (either alphabet) or as hexadecimal digits; undefined for anything else. */
export function readKey(text: string): Key | undefined {
  const bytes = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64");
  return /^[\w+/-]{43,64}=?$/.test(text) && bytes.length === KEY_BYTES ? keyOf(bytes) : undefined;
}

export function newKey(): Key {
  return keyOf(randomBytes(KEY_BYTES));
}

/** As `readKey` takes it. */
export function writeKey(key: Key): string {
  return key.bytes.toString("base64");
}

function keyOf(bytes: Buffer): Key {
  return { id: createHash("sha256").update("berth credentials key ").update(bytes).digest("hex").slice(0, 16), bytes };
}
