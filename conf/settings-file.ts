import type * as Yaml from "yaml";
import type { YAMLMap } from "yaml";
import type { SettingRow, SettingSource } from "./row.ts";
import { suggestion } from "./suggestion.ts";

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
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
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
        const raw = pair.value === null ? null : (pair.value as { toJS(from: typeof document): unknown }).toJS(document);
        if (raw !== null && raw !== "") source.values.push({ key, where: `${where}, ${key}`, raw });
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
