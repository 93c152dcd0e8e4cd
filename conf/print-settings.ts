import { masked } from "./found.ts";
import type { ReadSettings } from "./read-settings.ts";
import { rowsOf } from "./row.ts";
import { SETTINGS } from "./settings.ts";

const UNSET = "(unset)";

/** Every setting, its value and where that came from, one line each; a secret is `***` where it is set. */
export function printSettings({ settings, sources }: Pick<ReadSettings, "settings" | "sources">): string {
  const lines = rowsOf(SETTINGS).map(([key, row]) => {
    const value = key.split(".").reduce<unknown>((group, name) => (group as Record<string, unknown>)[name], settings);
    const text = display(value);
    return { name: `${key} = ${row.secret && text !== UNSET ? "***" : text}`, source: sources[key] ?? "default" };
  });
  const width = Math.min(60, Math.max(...lines.map(({ name }) => name.length)));
  return lines.map(({ name, source }) => `${name.padEnd(width)}  # ${source}\n`).join("");
}

function display(value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return UNSET;
  if (typeof value === "string") return value === "" ? '""' : masked(value);
  return masked(JSON.stringify(value));
}
