import type { Parser } from "./parsers.ts";

/** One setting: its names, its default, how it is read, and its line in the docs. */
export type Row<T> = {
  /** Variables that set it, the everyday name first; the others are aliases. */
  env: readonly string[];
  default: T;
  parse: Parser<T & {}>;
  /** For people: what it is for. One sentence without its full stop. */
  says: string;
  /** Never shown. */
  secret?: true;
  /** The key whose value is taken where this one is not set. */
  sameAs?: string;
  /** It is read and checked, but what it is for is not there yet: what that is. */
  later?: string;
};

type Extra = Pick<Row<unknown>, "secret" | "sameAs" | "later">;

/** A setting that always has a value. */
export function setting<T>(env: string | readonly string[], parse: Parser<T>, fallback: NoInfer<T>, says: string, extra: Extra = {}): Row<T> {
  return { env: [env].flat(), default: fallback, parse: parse as Parser<T & {}>, says, ...extra };
}

/** A setting that may be missing. */
export function optional<T>(env: string | readonly string[], parse: Parser<T>, says: string, extra: Extra = {}): Row<T | undefined> {
  return { env: [env].flat(), default: undefined, parse: parse as Parser<T & {}>, says, ...extra };
}

export function isRow(value: unknown): value is Row<unknown> {
  return typeof value === "object" && value !== null && "parse" in value && "says" in value;
}

/** The values of a table of rows, nested as it is. */
export type Values<Table> = { readonly [K in keyof Table]: Table[K] extends Row<infer T> ? T : Values<Table[K]> };

/** All rows of a table by their dotted keys, in its order. */
export function rowsOf(table: object, above = ""): [key: string, row: Row<unknown>][] {
  return Object.entries(table).flatMap(([name, value]: [string, unknown]) => {
    const key = above + name;
    if (isRow(value)) return [[key, value] satisfies [string, Row<unknown>]];
    return rowsOf(value as object, `${key}.`);
  });
}
