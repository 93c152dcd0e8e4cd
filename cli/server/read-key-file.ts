import { readFileSync } from "node:fs";
import { Fault } from "../../lib/fault.ts";

/** The developer key that a file holds. Faults: SETTINGS_INVALID. */
export function readKeyFile(file: string): string {
  try {
    const key = readFileSync(file, "utf8").trim();
    if (/^[\x21-\x7e]+$/.test(key)) return key;
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The key file ${file} cannot be read: ${(cause as Error).message}.`, { cause });
  }
  throw new Fault("SETTINGS_INVALID", `The key file ${file} holds no developer key.`);
}
