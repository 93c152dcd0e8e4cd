import { closest, distance } from "fastest-levenshtein";

/** The nearest name; undefined if none is within `most` changed letters. */
export function nearest(wrong: string, names: readonly string[], most = Math.max(2, Math.floor(wrong.length * 0.4))): string | undefined {
  if (names.length === 0) return undefined;
  const longer = wrong.includes("_") ? longerName(wrong, names) : undefined;
  if (longer !== undefined) return longer;
  const match = closest(
    wrong.toLowerCase(),
    names.map((name) => name.toLowerCase()),
  );
  const near = distance(wrong.toLowerCase(), match) <= most;
  return near ? names.find((name) => name.toLowerCase() === match) : undefined;
}

/** The shortest name that has all words of this one: BERTH_EDGE_PORT for BERTH_PORT, of which BERTH_HOST is nearer by its letters. */
function longerName(wrong: string, names: readonly string[]): string | undefined {
  const words = wrong.toUpperCase().split("_");
  const having = names.filter((name) => words.every((word) => name.toUpperCase().split("_").includes(word)));
  return having.toSorted((one, other) => one.length - other.length)[0];
}

/** ` (did you mean X?)`, or nothing. */
export function suggestion(wrong: string, names: readonly string[], most?: number): string {
  const name = nearest(wrong, names, most);
  return name === undefined ? "" : ` (did you mean ${name}?)`;
}
