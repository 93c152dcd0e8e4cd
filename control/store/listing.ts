import { type RawBuilder, sql } from "kysely";
import { asciiLowerCase } from "./dialects.ts";
import type { EntityReader } from "./entity-table.ts";
import type { Queries } from "./queries.ts";
import { isTextColumn } from "./tables.ts";

type ListingValue = string | number;

/**
 * One condition on a row; it holds where one of the columns does. Texts compare in whatever case. `among`: `value` is a JSON array of texts, which compare
 * exactly. `authoredBy`: the column has the id of a package, and `value` is that of its author.
 */
export type Condition = { columns: readonly string[]; holds: "is" | "isNot" | "contains" | "among" | "authoredBy"; value: ListingValue };

/** Which rows of a table, and in which order; every column's name is ours, every value is bound. */
export type Listing = {
  where: readonly Condition[];
  /** By name without it; the id decides between equals. `member`: of a column with JSON, the number by which rows are ordered. */
  order?: { column: string; descending: boolean; member?: string | undefined };
  /** Rows of exactly this name, in whatever case, come before all others: who looks a name up takes the first row. */
  nameFirst?: string | undefined;
  /** Undefined: all from `offset` on. */
  limit?: number;
  offset?: number;
};

type NamedRow = { id: string; name: string; packageId: string };

/** Ids come first and rows later, a page at a time, so that a long list is one moment's order and never one moment's memory. */
export type Listings<T> = {
  ids(listing: Listing): Promise<string[]>;
  count(listing: Pick<Listing, "where">): Promise<number>;
  /** How many of the rows are in each state. */
  countByState(listing: Pick<Listing, "where">): Promise<{ state: string; count: number }[]>;
  /** All of these names, in whatever case, but those of this package. One query, however many names there are. */
  named(names: readonly string[], butOfPackage: string): Promise<NamedRow[]>;
  /** In the order of the ids; those that are gone meanwhile are left out. */
  some(ids: readonly string[]): Promise<T[]>;
};

/** `within` is a condition that every listed row satisfies. */
export function createListings<N extends "containers" | "images", T extends { id: string }>(
  { database, dialect, raw, select }: Queries,
  name: N,
  within: RawBuilder<boolean>,
  reader: EntityReader<N, T>,
): Listings<T> {
  const { caseless } = dialect;
  const table = sql.table(name);
  const byName = caseless(sql.ref("name"));
  /** A number compares as one, and a text in whatever case. */
  const comparable = (column: string) => (isTextColumn(name, column) ? caseless(sql.ref(column)) : sql.ref(column));
  const conditionOf = ({ columns, holds, value }: Condition) => {
    const compared = typeof value === "string" ? asciiLowerCase(value) : value;
    return sql`(${sql.join(
      columns.map((column) => {
        if (holds === "among") return sql`${sql.ref(column)} in ${dialect.elements(String(value))}`;
        if (holds === "authoredBy") return sql`${sql.ref(column)} in (select id from packages where author_id = ${value})`;
        if (holds === "contains") return dialect.contains(sql`lower(${sql.ref(column)})`, sql`${compared}`);
        return sql`${comparable(column)} ${holds === "is" ? sql`=` : sql`<>`} ${compared}`;
      }),
      sql` or `,
    )})`;
  };
  const conditions = (where: readonly Condition[]) => sql.join([within, ...where.map(conditionOf)], sql` and `);
  /** Filters combine in more ways than are worth keeping. */
  const rows = async <R>(statement: RawBuilder<R>): Promise<R[]> => (await database.readUnordered(raw(statement).compile())) as R[];
  const named = select((values: { names: string; butOfPackage: string }) =>
    raw(
      sql<NamedRow>`select id, name, package_id as "packageId" from ${table}
        where ${byName} in ${dialect.elements(values.names)} and package_id <> ${values.butOfPackage} and ${within} order by ${byName}, id`,
    ),
  );
  const some = reader.list((query, values: { ids: string }) => query.where(sql<boolean>`id in ${dialect.elements(values.ids)}`), "unordered");
  return {
    ids: async ({ where, order, nameFirst, limit, offset }) => {
      const direction = order?.descending === true ? sql`desc` : sql`asc`;
      const ordered = order?.member === undefined ? order && comparable(order.column) : dialect.numericMember(order.column, order.member);
      const by = ordered === undefined ? byName : sql`${ordered} ${direction}`;
      const first = nameFirst === undefined ? sql`` : sql`(${byName} = ${asciiLowerCase(nameFirst)}) desc, `;
      const listed = await rows(
        sql<{ id: string }>`select id from ${table} where ${conditions(where)} order by ${first}${by}, id
          limit ${limit ?? Number.MAX_SAFE_INTEGER} offset ${offset ?? 0}`,
      );
      return listed.map(({ id }) => id);
    },
    count: async ({ where }) => {
      const [row] = await rows(sql<{ count: number }>`select count(*) as count from ${table} where ${conditions(where)}`);
      return row?.count ?? 0;
    },
    countByState: ({ where }) =>
      rows(sql<{ state: string; count: number }>`select state, count(*) as count from ${table} where ${conditions(where)} group by state`),
    named: (names, butOfPackage) => named({ names: JSON.stringify(names.map(asciiLowerCase)), butOfPackage }),
    some: async (ids) => {
      const byId = new Map((await some({ ids: JSON.stringify(ids) })).map((row) => [row.id, row]));
      return ids.flatMap((id) => byId.get(id) ?? []);
    },
  };
}
