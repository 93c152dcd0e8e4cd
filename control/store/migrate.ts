import type { Database } from "better-sqlite3";
import { Fault } from "../../fault.ts";
import { SCHEMA_STEPS } from "./schema.ts";

/** Each step in a transaction with its number, so a process that dies in between finds the store at a whole step. */
export function migrate(database: Database, steps: readonly string[] = SCHEMA_STEPS): void {
  const version = Number(database.pragma("user_version", { simple: true }));
  if (version > steps.length) {
    throw new Fault("DATA_FOLDER_UNUSABLE", `The store was written by a newer berth (version ${version}; this one knows ${steps.length}).`);
  }
  for (const [index, step] of steps.entries()) {
    if (index < version) continue;
    database.transaction(() => {
      database.exec(step);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}
