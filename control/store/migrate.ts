import type { Database } from "better-sqlite3";
import { Fault } from "../../lib/fault.ts";
import { SCHEMA_STEPS } from "./schema.ts";

/** How many steps a store has seen. Faults: DATA_FOLDER_UNUSABLE for more than there are, of which nobody knows what they did. */
export function knownVersion(database: Database, steps: readonly string[] = SCHEMA_STEPS): number {
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version <= steps.length) return version;
  throw new Fault(
    "DATA_FOLDER_UNUSABLE",
    `The store was written by a newer berth (version ${version}; this one knows ${steps.length}): run that one, or restore a backup from before it.`,
  );
}

/** Each step in a transaction with its number, so a process that dies in between finds the store at a whole step. */
export function migrate(database: Database, steps: readonly string[] = SCHEMA_STEPS): void {
  const version = knownVersion(database, steps);
  for (const [index, step] of steps.entries()) {
    if (index < version) continue;
    database.transaction(() => {
      database.exec(step);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}
