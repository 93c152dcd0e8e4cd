import { isDeepStrictEqual } from "node:util";
import type * as Yaml from "yaml";
import type { YAMLMap } from "yaml";
import { Fault } from "../lib/fault.ts";
import { displayValue, type RawSetting, rowsOf, type SettingRow, type SettingSource } from "./row.ts";
import { type Settings, SETTINGS } from "./settings.ts";
import { suggestion } from "./suggestion.ts";

export type ReadSettings = {
  settings: Settings;
  /** For each dotted key, where its value came from: a variable, a line of the file, another key, `default`. */
  sources: Record<string, string>;
  /** One sentence each, for the log. */
  warnings: string[];
};

type ParsedSetting = { key: string; where: string; value: unknown };

/**
 * The settings from the variables and the settings file; a variable wins over the file.
 * Faults: SETTINGS_INVALID, whose message has a line for everything that is wrong and holds no secret.
 */
export function readSettings(from: {
  env: Record<string, string | undefined>;
  file?: { path: string; text: string; parse: ParseSettingsFile } | undefined;
  /** Reads what the `_FILE` of a secret names; throws where it cannot. Where it is left out, no such file can be read. */
  readText?: (path: string) => string;
}): ReadSettings {
  const rows = rowsOf(SETTINGS);
  // In the order of their rank: the product documents its single variables as overrides of its JSON.
  const sources: SettingSource[] = [
    readEnv(from.env, rows, from.readText ?? noText),
    readParameters(from.env[PARAMETERS], rows),
    ...(from.file ? [from.file.parse(from.file, rows)] : []),
  ];
  const faults = sources.flatMap((source) => source.faults);
  const values = new Map<string, ParsedSetting>();
  for (const [key, row] of rows) {
    for (const source of sources) {
      const read = source.values.filter((one) => one.key === key).map((one) => readOne(one, row));
      faults.push(...read.flatMap((one) => ("fault" in one ? [one.fault] : [])));
      const good = read.flatMap((one) => ("fault" in one ? [] : [one]));
      const [first] = good;
      const other = good.find((one) => !isDeepStrictEqual(one.value, first?.value));
      if (first && other) faults.push(`${first.where} and ${other.where} set ${key} to different values; leave one out`);
      if (first && !values.has(key)) values.set(key, first);
    }
  }
  if (faults.length > 0) throw new Fault("SETTINGS_INVALID", faults.join("\n"));

  const settled = rows.map(([key, row]) => resolveSetting(key, row, values));
  return {
    settings: nest(settled) as Settings,
    sources: Object.fromEntries(settled.map(({ key, where }) => [key, where])),
    warnings: sources.flatMap((source) => source.warnings),
  };
}

function noText(): never {
  throw new Error("No file is read here.");
}

function readOne({ key, where, raw }: RawSetting, row: SettingRow<unknown>): ParsedSetting | { fault: string } {
  const value = row.parse.read(raw);
  if (value !== undefined) return { key, where, value };
  const explained = row.parse.explain?.(raw);
  if (explained !== undefined) return { fault: `${where}: ${explained}` };
  const what = row.secret ? "the value" : displayValue(raw);
  // Kubernetes sets NAME_PORT=tcp://… for each Service NAME, so a Service `berth-edge` meets BERTH_EDGE_PORT.
  const hint = String(raw).startsWith("tcp://") ? " (from a Kubernetes Service of this name? Then set enableServiceLinks: false)" : "";
  return { fault: `${where}: ${what} is not allowed; it takes ${row.parse.allowed}${hint}` };
}

function resolveSetting(key: string, row: SettingRow<unknown>, values: Map<string, ParsedSetting>): ParsedSetting {
  const own = values.get(key);
  if (own) return own;
  const same = row.sameAs === undefined ? undefined : values.get(row.sameAs);
  return same ? { key, where: `as ${row.sameAs}`, value: same.value } : { key, where: "default", value: row.default };
}

/** `[{ key: "a.b", value: 1 }]` → `{ a: { b: 1 } }` */
function nest(values: readonly ParsedSetting[]): Record<string, unknown> {
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

/** Groups of the server's own settings that are ours; all else in `GROK_PARAMETERS` is not. */
const OUR_PARAMETERS = /^(dockerSettings|queueSettings)\./;
const PARAMETERS = "GROK_PARAMETERS";

/** At the end of a secret's variable: another one, which names a file that holds it, as orchestrators mount their secrets. */
export const FILE_SUFFIX = "_FILE";

/**
 * Finds the settings among the variables. An empty variable counts as unset, as compose files leave it. `readText` reads what a secret's `_FILE`
 * names, and throws where it cannot.
 */
function readEnv(
  env: Record<string, string | undefined>,
  rows: readonly [string, SettingRow<unknown>][],
  readText: (path: string) => string,
): SettingSource {
  const set = Object.entries(env).flatMap(([name, value]) => (value === undefined || value.trim() === "" ? [] : [{ name, value }]));
  const keyOf = new Map(rows.flatMap(([key, row]) => row.env.map((name) => [name, key] as const)));
  const secretOf = new Map(rows.flatMap(([key, row]) => (row.secret ? row.env.map((name) => [name + FILE_SUFFIX, key] as const) : [])));
  const names = [...keyOf.keys(), ...secretOf.keys(), SETTINGS_FILE_NAME, PARAMETERS];
  const faults: string[] = [];
  const warnings: string[] = [];
  const values: RawSetting[] = [];
  for (const { name, value } of set) {
    const key = keyOf.get(name);
    const secret = secretOf.get(name);
    if (key !== undefined) values.push({ key, where: name, raw: value });
    else if (secret !== undefined) {
      const read = readSecret(value, readText);
      if ("raw" in read) values.push({ key: secret, where: name, ...read });
      // Not repeated: by a slip it may be the secret itself.
      else faults.push(`${name}: the file that it names ${read.fault}`);
    } else if (names.includes(name) || setByKubernetes(name, value)) continue;
    else if (name.startsWith("BERTH_"))
      faults.push(
        `${name}: there is no such setting${suggestion(
          name,
          names.filter((one) => one.startsWith("BERTH_")),
        )}`,
      );
    else if (name.startsWith("GROK_SPAWNER_") || /^GROK_PARAMETERS_(DOCKER|QUEUE)_SETTINGS__/.test(name)) {
      warnings.push(`${name}: not known, passed over${suggestion(name, names)}`);
    }
  }
  return { values, faults, warnings };
}

/** Without what an editor or `echo` leaves at its end. An empty one is a slip: passed over, it would leave a default in force. */
function readSecret(path: string, readText: (path: string) => string): { raw: string } | { fault: string } {
  try {
    const raw = readText(path).trim();
    return raw === "" ? { fault: "is empty" } : { raw };
  } catch (error) {
    return { fault: `cannot be read (${(error as NodeJS.ErrnoException).code ?? "no text"})` };
  }
}

/** For each Service, Kubernetes sets `NAME_SERVICE_HOST`, `NAME_PORT=tcp://…` and more in every pod. */
function setByKubernetes(name: string, value: string): boolean {
  return /^BERTH_(.*_)?SERVICE_(HOST|PORT)(_|$)/.test(name) || /^BERTH_(.*_)?PORT_\d+_(TCP|UDP)(_|$)/.test(name) || /^(tcp|udp):\/\//.test(value);
}

/** The JSON that a real stand has there holds dozens of keys for others, and their secrets: nothing of it is repeated. */
function readParameters(json: string | undefined, rows: readonly [string, SettingRow<unknown>][]): SettingSource {
  if (json === undefined || json.trim() === "") return { values: [], faults: [], warnings: [] };
  const parameters = parseObject(json);
  if (!parameters) return { values: [], faults: [`${PARAMETERS}: takes a JSON object, and this is none`], warnings: [] };
  const ours = rows.map(([key]) => key).filter((key) => OUR_PARAMETERS.test(key));
  const source: SettingSource = { values: [], faults: [], warnings: [] };
  for (const group of new Set(ours.map((key) => key.slice(0, key.indexOf("."))))) {
    const values = parameters[group];
    if (values === undefined || values === null) continue;
    if (typeof values !== "object" || Array.isArray(values)) {
      source.faults.push(`${PARAMETERS}, ${group}: takes a JSON object`);
      continue;
    }
    for (const [name, raw] of Object.entries(values)) {
      const key = `${group}.${name}`;
      if (ours.includes(key)) {
        if (raw !== null && raw !== "") source.values.push({ key, where: `${PARAMETERS}, ${key}`, raw });
      } else {
        // A server of another version may have more keys: warn only of what looks like a typo.
        const near = suggestion(key, ours, 2);
        if (near) source.warnings.push(`${PARAMETERS}, ${key}: not known, passed over${near}`);
      }
    }
  }
  return source;
}

function parseObject(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** The variable that names the settings file, and where it is otherwise, if there is one. */
export const SETTINGS_FILE_NAME = "BERTH_CONFIG";
export const SETTINGS_FILE = "berth.yaml";

/** Finds the settings of these rows in a settings file. An empty value counts as unset. */
export type ParseSettingsFile = (file: { path: string; text: string }, rows: readonly [string, SettingRow<unknown>][]) => SettingSource;

/** The YAML parser costs each process 25 ms of processor time: load it only where there is a settings file. */
export async function loadSettingsParser(): Promise<ParseSettingsFile> {
  const yaml = await import("yaml");
  return (file, rows) => parse(yaml, file, rows);
}

function parse(
  { isMap, isScalar, LineCounter, parseDocument }: typeof Yaml,
  file: { path: string; text: string },
  rows: readonly [string, SettingRow<unknown>][],
): SettingSource {
  const lines = new LineCounter();
  // The parser's own messages quote the line, which may hold a secret.
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const at = (offset: number | undefined) => `${file.path}:${lines.linePos(offset ?? 0).line}`;
  const source: SettingSource = { values: [], faults: [], warnings: [] };
  if (document.errors.length > 0) {
    return { ...source, faults: document.errors.map((error) => `${at(error.pos[0])}: this is not YAML (${error.code})`) };
  }
  if (document.contents === null) return source;
  if (!isMap(document.contents))
    return { ...source, faults: [`${at(document.contents.range?.[0])}: a settings file holds names and values, e.g. "workers: 2"`] };

  const keys = rows.map(([key]) => key);
  const walk = (map: YAMLMap, above: string) => {
    for (const pair of map.items) {
      const name = isScalar(pair.key) ? String(pair.key.value) : "";
      const where = at(isScalar(pair.key) ? pair.key.range?.[0] : undefined);
      const key = above + name;
      if (keys.includes(key)) {
        const read = readNode(pair.value as Yaml.Node | null, document);
        if (read === undefined) source.faults.push(`${where}, ${key}: put a text that begins with *, & or ! into quotes`);
        else if (read.raw !== null && read.raw !== "") source.values.push({ key, where: `${where}, ${key}`, raw: read.raw });
      } else if (keys.some((one) => one.startsWith(`${key}.`))) {
        if (isMap(pair.value)) walk(pair.value, `${key}.`);
        else if (!isScalar(pair.value) || pair.value.value !== null) source.faults.push(`${where}: ${key} is a group of settings, not a setting`);
      } else {
        source.faults.push(`${where}: there is no setting ${key}${suggestion(key, keys)}`);
      }
    }
  };
  walk(document.contents, "");
  return source;
}

/**
 * The value of a node. Undefined for an alias of nothing or of itself, and for an anchor or a tag of nothing: most of all a password without quotes, of which
 * the parser's own message would show a part.
 */
function readNode(node: Yaml.Node | null, document: Yaml.Document): { raw: unknown } | undefined {
  if (node === null) return { raw: null };
  try {
    const raw: unknown = node.toJS(document);
    JSON.stringify(raw);
    const isNothing = raw === null || raw === "";
    return isNothing && ("anchor" in node || node.tag !== undefined) ? undefined : { raw };
  } catch {
    return undefined;
  }
}
