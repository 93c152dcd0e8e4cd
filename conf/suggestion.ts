import { closest, distance } from "fastest-levenshtein";

/** The nearest name; undefined if none is within `most` changed letters. */
export function nearest(wrong: string, names: readonly string[], most = Math.max(2, Math.floor(wrong.length * 0.4))): string | undefined {
  if (names.length === 0) return undefined;
  const match = closest(
    wrong.toLowerCase(),
    names.map((name) => name.toLowerCase()),
  );
  const near = distance(wrong.toLowerCase(), match) <= most;
  return near ? names.find((name) => name.toLowerCase() === match) : undefined;
}

/** ` (did you mean X?)`, or nothing. */
export function suggestion(wrong: string, names: readonly string[], most?: number): string {
  const name = nearest(wrong, names, most);
  return name === undefined ? "" : ` (did you mean ${name}?)`;
}
