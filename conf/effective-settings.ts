import type { ReadSettings } from "./read-settings.ts";
import { maskSecrets, rowsOf, type SettingRow } from "./row.ts";
import { SETTINGS } from "./settings.ts";

/** Where a value comes from: a variable, a line of the settings file, or nowhere. */
export type SettingOrigin = "environment" | "file" | "default";

/** A setting in force, without any secret. */
export type EffectiveSetting = {
  key: string;
  /** The everyday name of its variable. */
  variable: string;
  /** As JSON, without passwords of URLs; null: unset; `***`: a secret that is set. */
  value: unknown;
  default: unknown;
  origin: SettingOrigin;
  /** The variable, the line of the file, `default`, or the setting whose value it takes. */
  source: string;
  description: string;
};

/** Every setting with its value and source, in the order of their table. */
export function effectiveSettings({ settings, sources }: Pick<ReadSettings, "settings" | "sources">): EffectiveSetting[] {
  return rowsOf(SETTINGS).map(([key, row]) => {
    const source = sources[key] ?? "default";
    return {
      key,
      variable: row.env[0] ?? "",
      value: shownValue(row, valueAt(settings, key)),
      default: shownValue(row, row.default),
      origin: originOf(row, source),
      source,
      description: row.description,
    };
  });
}

function originOf({ env }: SettingRow<unknown>, source: string): SettingOrigin {
  if (source === "default" || source.startsWith("as ")) return "default";
  const isVariable = source.startsWith("GROK_PARAMETERS") || env.some((name) => source === name || source === `${name}_FILE`);
  return isVariable ? "environment" : "file";
}

function shownValue({ secret }: SettingRow<unknown>, value: unknown): unknown {
  const isUnset = value === undefined || (Array.isArray(value) && value.length === 0);
  return secret && !isUnset ? "***" : maskedAll(value ?? null);
}

function maskedAll(value: unknown): unknown {
  if (typeof value === "string") return maskSecrets(value);
  if (Array.isArray(value)) return value.map(maskedAll);
  return typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, maskedAll(one)])) : value;
}

function valueAt(settings: object, key: string): unknown {
  return key.split(".").reduce<unknown>((group, name) => (group as Record<string, unknown>)[name], settings);
}
