import Sqlite from "better-sqlite3";
import { join } from "node:path";
import { storeFault } from "./store-fault.ts";

const MOST_LINES = 10;

/**
 * What SQLite finds wrong with the store in `folder`; empty: nothing. It reads every page: structure, indexes against their tables, types and
 * constraints. A value that was altered within its row is not found, since SQLite keeps no checksum of a page. It may take seconds and blocks this
 * process, so control never calls it; a berth that runs is neither waited for nor held up. Faults: those of opening the store.
 */
export function checkIntegrity(folder: string): string[] {
  let database: Sqlite.Database | undefined;
  try {
    database = new Sqlite(join(folder, "berth.db"), { fileMustExist: true });
    const rows = database.pragma(`integrity_check(${MOST_LINES})`) as { integrity_check: string }[];
    const lines = rows.map((row) => row.integrity_check.replaceAll(/\s+/g, " "));
    return lines.length === 1 && lines[0] === "ok" ? [] : lines;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return [(error as Error).message];
    throw storeFault(error, folder);
  } finally {
    database?.close();
  }
}
