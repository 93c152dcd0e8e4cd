import type { Parser } from "./parsers.ts";

/** One setting: its names, its default, how it is read, and its line in the docs. */
export type SettingRow<T> = {
  /** Variables that set it, the everyday name first; the others are aliases. */
  env: readonly string[];
  default: T;
  parse: Parser<T & {}>;
  /** One sentence for the docs, without a full stop. */
  description: string;
  /** Never shown. */
  secret?: true;
  /** The key whose value is the default of this one. */
  sameAs?: string;
};

type Extra = Pick<SettingRow<unknown>, "secret" | "sameAs">;

/** A setting that always has a value. */
export function setting<T>(
  env: string | readonly string[],
  parse: Parser<T>,
  fallback: NoInfer<T>,
  description: string,
  extra: Extra = {},
): SettingRow<T> {
  return { env: [env].flat(), default: fallback, parse: parse as Parser<T & {}>, description, ...extra };
}

/** A setting that may be missing. */
export function optional<T>(env: string | readonly string[], parse: Parser<T>, description: string, extra: Extra = {}): SettingRow<T | undefined> {
  return { env: [env].flat(), default: undefined, parse: parse as Parser<T & {}>, description, ...extra };
}

function isRow(value: unknown): value is SettingRow<unknown> {
  return typeof value === "object" && value !== null && "parse" in value && "description" in value;
}

/** The values of a table of rows, nested as it is. */
export type SettingValues<Table> = { readonly [K in keyof Table]: Table[K] extends SettingRow<infer T> ? T : SettingValues<Table[K]> };

/** All rows of a table by their dotted keys, in its order. */
export function rowsOf(table: object, above = ""): [key: string, row: SettingRow<unknown>][] {
  return Object.entries(table).flatMap(([name, value]: [string, unknown]) => {
    const key = above + name;
    if (isRow(value)) return [[key, value] satisfies [string, SettingRow<unknown>]];
    return rowsOf(value as object, `${key}.`);
  });
}

/** A value before it is parsed. */
export type RawSetting = {
  /** The setting's dotted key. */
  key: string;
  /** The variable's name, or the line of the file. */
  where: string;
  raw: unknown;
};

/** What one source holds, and what is wrong with it in one sentence each. */
export type SettingSource = { values: RawSetting[]; faults: string[]; warnings: string[] };

/** A value that is not allowed, in quotes for a message, without the password of a URL. Not for secrets. */
export function displayValue(raw: unknown): string {
  const text = typeof raw === "string" ? raw : (JSON.stringify(raw) ?? String(raw));
  // A password with a slash is one reason why a URL is not allowed.
  const masked = maskSecrets(text).replaceAll(/:\/\/\S*@/g, "://***@");
  return `"${masked.slice(0, 200).replaceAll(/\p{Cc}/gu, " ")}"`;
}

/** A URL, or a host and port, without user and password. */
export function maskSecrets(text: string): string {
  return text.replace(/(:\/\/|^)[^/\s]*@/g, "$1***@");
}

/** Names of variables that deployments in the field use, by their rules. */

/** `dockerSettings.proxyRequestTimeout` → `GROK_PARAMETERS_DOCKER_SETTINGS__PROXY_REQUEST_TIMEOUT`. */
export function parameterName(key: string): string {
  return `GROK_PARAMETERS_${key.split(".").map(upperSnake).join("__")}`;
}

/** The four spellings of one of the spawner's nested names: `GROK_SPAWNER_CVM_ECS__CLUSTER`, with one `_`, and both without prefix. */
export function spawnerNames(block: string, name: string): string[] {
  return ["GROK_SPAWNER_", ""].flatMap((prefix) => [`${prefix}${block}__${name}`, `${prefix}${block}_${name}`]);
}

function upperSnake(camelCase: string): string {
  return camelCase.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}
