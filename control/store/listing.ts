import type { Sql } from "./sql.ts";

type Value = string | number;

/** One condition on a row; it holds where one of the columns does. Texts compare in whatever case. */
export type Condition = { columns: readonly string[]; holds: "is" | "isNot" | "contains"; value: Value };

/** Which rows of a table, and in which order; every column's name is ours, every value is bound. */
export type Listing = {
  where: readonly Condition[];
  /** By name where it says nothing; the id decides between equals. */
  order?: { column: string; descending: boolean };
  /** Rows of exactly this name, in whatever case, come before all others: who looks a name up takes the first row. */
  nameFirst?: string | undefined;
  /** Undefined: all from `offset` on. */
  limit?: number;
  offset?: number;
};

/** Ids come first and rows later, a page at a time, so that a long list is one moment's order and never one moment's memory. */
export type Listings<T> = {
  ids(listing: Listing): string[];
  count(listing: Pick<Listing, "where">): number;
  /** All of these names, in whatever case, but those of this package. One query, however many names there are. */
  named(names: readonly string[], butOfPackage: string): { id: string; name: string; packageId: string }[];
  /** In the order of the ids; those that are gone meanwhile are left out. */
  some(ids: readonly string[]): T[];
};

/** `within` is a condition that every listed row satisfies. */
export function listingsOf<T extends { id: string }>(
  sql: Sql,
  table: string,
  within: string,
  rows: { where(condition: string, ...values: Value[]): T[] },
): Listings<T> {
  return {
    ids: ({ where, order, nameFirst, limit, offset }) => {
      const { text, values } = conditions(where);
      const first = nameFirst === undefined ? "" : "name = ? COLLATE NOCASE DESC, ";
      const by = order ? `${order.column} COLLATE NOCASE ${order.descending ? "DESC" : "ASC"}, id` : "name COLLATE NOCASE, id";
      const found = sql.all<{ id: string }>(
        `SELECT id FROM ${table} WHERE ${within}${text} ORDER BY ${first}${by} LIMIT ? OFFSET ?`,
        ...values,
        ...(nameFirst === undefined ? [] : [nameFirst]),
        limit ?? -1,
        offset ?? 0,
      );
      return found.map(({ id }) => id);
    },
    count: ({ where }) => {
      const { text, values } = conditions(where);
      const [found] = sql.all<{ count: number }>(`SELECT count(*) AS count FROM ${table} WHERE ${within}${text}`, ...values);
      return found?.count ?? 0;
    },
    named: (names, butOfPackage) =>
      sql.all(
        `SELECT id, name, package_id AS packageId FROM ${table}
          WHERE name COLLATE NOCASE IN (SELECT value FROM json_each(?)) AND package_id <> ? AND ${within} ORDER BY name COLLATE NOCASE, id`,
        JSON.stringify(names),
        butOfPackage,
      ),
    some: (ids) => {
      const found = new Map(rows.where("id IN (SELECT value FROM json_each(?))", JSON.stringify(ids)).map((row) => [row.id, row]));
      return ids.flatMap((id) => found.get(id) ?? []);
    },
  };
}

const HOLDS: Readonly<Record<Condition["holds"], (column: string) => string>> = {
  is: (column) => `${column} = ? COLLATE NOCASE`,
  isNot: (column) => `${column} <> ? COLLATE NOCASE`,
  contains: (column) => `instr(lower(${column}), lower(?)) > 0`,
};

function conditions(where: readonly Condition[]): { text: string; values: Value[] } {
  const text = where.map(({ columns, holds }) => ` AND (${columns.map(HOLDS[holds]).join(" OR ")})`).join("");
  return { text, values: where.flatMap(({ columns, value }) => columns.map(() => value)) };
}
