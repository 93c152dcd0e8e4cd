import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Another proxy's answers: of each row that it did not get right, what came out. */
export type Measured = { name: string; version: string; wrong: Readonly<Record<string, string>> };

/** Written by `npm run correctness -- --peers`. */
export const MEASURED_FILE = join(import.meta.dirname, "measured.json");

export function readMeasured(): Measured[] {
  return existsSync(MEASURED_FILE) ? (JSON.parse(readFileSync(MEASURED_FILE, "utf8")) as Measured[]) : [];
}
