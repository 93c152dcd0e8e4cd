import { maskSecrets, rowsOf } from "./row.ts";
import type { ReadSettings } from "./read-settings.ts";
import { SETTINGS } from "./settings.ts";

const UNSET = "(unset)";

/** Every setting, its value and where that came from, one line each; a secret is `***` where it is set. */
export function printSettings({ settings, sources }: Pick<ReadSettings, "settings" | "sources">): string {
  const lines = rowsOf(SETTINGS).map(([key, row]) => {
    const text = display(valueAt(settings, key));
    return { name: `${key} = ${row.secret && text !== UNSET ? "***" : text}`, source: sources[key] ?? "default" };
  });
  const width = Math.min(60, Math.max(...lines.map(({ name }) => name.length)));
  return lines.map(({ name, source }) => `${name.padEnd(width)}  # ${source}\n`).join("");
}

/** The same for programs: a list with an object for each setting; null where it is unset. */
export function settingsJson({ settings, sources }: Pick<ReadSettings, "settings" | "sources">): { key: string; value: unknown; source: string }[] {
  return rowsOf(SETTINGS).map(([key, row]) => {
    const value = valueAt(settings, key);
    const isUnset = display(value) === UNSET;
    return { key, value: row.secret && !isUnset ? "***" : maskedAll(value ?? null), source: sources[key] ?? "default" };
  });
}

function maskedAll(value: unknown): unknown {
  return typeof value === "string" ? maskSecrets(value) : Array.isArray(value) ? value.map(maskedAll) : value;
}

function valueAt(settings: object, key: string): unknown {
  return key.split(".").reduce<unknown>((group, name) => (group as Record<string, unknown>)[name], settings);
}

function display(value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return UNSET;
  if (typeof value === "string") return value === "" ? '""' : maskSecrets(value);
  return maskSecrets(JSON.stringify(value));
}
