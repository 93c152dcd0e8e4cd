import { isMap, isScalar, LineCounter, parseDocument, type YAMLMap } from "yaml";
import type { Source } from "./found.ts";
import { suggestion } from "./suggestion.ts";
import type { Row } from "./row.ts";

/** Finds the settings in a settings file. An empty value counts as unset. */
export function readFile(file: { path: string; text: string }, rows: readonly [string, Row<unknown>][]): Source {
  const lines = new LineCounter();
  // The parser's own messages quote the line, which may hold a secret.
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  const at = (offset: number | undefined) => `${file.path}:${lines.linePos(offset ?? 0).line}`;
  const source: Source = { found: [], faults: [], warnings: [] };
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
        if (raw !== null && raw !== "") source.found.push({ key, where: `${where}, ${key}`, raw });
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
