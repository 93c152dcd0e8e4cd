import { Fault } from "../lib/fault.ts";
import { isDeepStrictEqual } from "node:util";
import { type Found, shown, type Source } from "./found.ts";
import { readEnv } from "./read-env.ts";
import { readFile } from "./read-file.ts";
import { type Row, rowsOf } from "./row.ts";
import { type Settings, SETTINGS } from "./settings.ts";

export type ReadSettings = {
  settings: Settings;
  /** For each dotted key, where its value came from: a variable, a line of the file, another key, `default`. */
  sources: Record<string, string>;
  /** One sentence each, for the log. */
  warnings: string[];
};

type Value = { key: string; where: string; value: unknown };

/**
 * The settings from the variables and the settings file; a variable wins over the file.
 * Faults: SETTINGS_INVALID, whose message has a line for everything that is wrong and holds no secret.
 */
export function readSettings(from: {
  env: Record<string, string | undefined>;
  file?: { path: string; text: string } | undefined;
  /** Reads what the `_FILE` of a secret names; throws where it cannot. Where it is left out, no such file can be read. */
  readText?: (path: string) => string;
}): ReadSettings {
  const rows = rowsOf(SETTINGS);
  const sources: Source[] = [readEnv(from.env, rows, from.readText ?? noText), ...(from.file ? [readFile(from.file, rows)] : [])];
  const faults = sources.flatMap((source) => source.faults);
  const values = new Map<string, Value>();
  for (const [key, row] of rows) {
    for (const source of sources) {
      const read = source.found.filter((one) => one.key === key).map((one) => readOne(one, row));
      faults.push(...read.flatMap((one) => ("fault" in one ? [one.fault] : [])));
      const good = read.flatMap((one) => ("fault" in one ? [] : [one]));
      const [first] = good;
      const other = good.find((one) => !isDeepStrictEqual(one.value, first?.value));
      if (first && other) faults.push(`${first.where} and ${other.where} set ${key} to different values; leave one out`);
      if (first && !values.has(key)) values.set(key, first);
    }
  }
  if (faults.length > 0) throw new Fault("SETTINGS_INVALID", faults.join("\n"));

  const settled = rows.map(([key, row]) => settle(key, row, values));
  return {
    settings: nest(settled) as Settings,
    sources: Object.fromEntries(settled.map(({ key, where }) => [key, where])),
    warnings: sources.flatMap((source) => source.warnings),
  };
}

function noText(): never {
  throw new Error("No file is read here.");
}

function readOne(found: Found, row: Row<unknown>): Value | { fault: string } {
  const value = row.parse.read(found.raw);
  if (value !== undefined) return { key: found.key, where: found.where, value };
  const what = row.secret ? "the value" : shown(found.raw);
  // Kubernetes sets NAME_PORT=tcp://… for each Service NAME, so a Service `berth-edge` meets BERTH_EDGE_PORT.
  const hint = String(found.raw).startsWith("tcp://") ? " (from a Kubernetes Service of this name? Then set enableServiceLinks: false)" : "";
  return { fault: `${found.where}: ${what} is not allowed; it takes ${row.parse.allowed}${hint}` };
}

function settle(key: string, row: Row<unknown>, values: Map<string, Value>): Value {
  const own = values.get(key);
  if (own) return own;
  const same = row.sameAs === undefined ? undefined : values.get(row.sameAs);
  return same ? { key, where: `as ${row.sameAs}`, value: same.value } : { key, where: "default", value: row.default };
}

/** `[{ key: "a.b", value: 1 }]` → `{ a: { b: 1 } }` */
function nest(values: readonly Value[]): Record<string, unknown> {
  const whole: Record<string, unknown> = {};
  for (const { key, value } of values) {
    const path = key.split(".");
    const last = path.pop() ?? "";
    let group = whole;
    for (const name of path) group = (group[name] ??= {}) as Record<string, unknown>;
    group[last] = value;
  }
  return whole;
}
