import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type RawBuilder,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from "kysely";
import type { Tables } from "./tables.ts";

/** What the queries need of a database that other databases spell otherwise. */
export type Dialect = {
  builder: Kysely<Tables>;
  /** The elements of a list that comes as one JSON text, so that one statement serves lists of each length. A table with the column `value`. */
  elements(list: string): RawBuilder<string>;
  /** The same for a list of objects: `value ->> 'name'` is a member of one. */
  objects(list: string): RawBuilder<unknown>;
  /** What a map that comes as one JSON text has under the value of a column. */
  entry(map: string, key: string): RawBuilder<string>;
  /** A member of a JSON column: a text, or what compares with one. */
  member<V>(column: string, name: string): RawBuilder<V>;
  /** A member of a JSON column that is a number. */
  numericMember(column: string, name: string): RawBuilder<number>;
  /** Compares and orders a column's texts in whatever case of ASCII letters; as the indexes have it. What it is compared with is in lower case. */
  caseless(text: RawBuilder<string>): RawBuilder<string>;
  contains(text: RawBuilder<string>, part: RawBuilder<string>): RawBuilder<boolean>;
  /** Rows of a table in the order in which they were inserted. */
  insertion: RawBuilder<number>;
  /** Where what is being published lies until it is recorded: tables of the connection, which end with it, or of the schema, which all processes see. */
  staging: "temporary" | "shared";
};

const driver = { createDriver: () => new DummyDriver() };

export const SQLITE_DIALECT: Dialect = {
  builder: new Kysely<Tables>({
    dialect: {
      ...driver,
      createAdapter: () => new SqliteAdapter(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  }),
  elements: (list) => sql`(select value from json_each(${list}))`,
  objects: (list) => sql`(select value from json_each(${list}))`,
  entry: (map, key) => sql`(${map} ->> ${sql.ref(key)})`,
  member: (column, name) => sql`json_extract(${sql.ref(column)}, ${sql.lit(`$.${name}`)})`,
  numericMember: (column, name) => sql`json_extract(${sql.ref(column)}, ${sql.lit(`$.${name}`)})`,
  caseless: (text) => sql`${text} collate nocase`,
  contains: (text, part) => sql`instr(${text}, ${part}) > 0`,
  insertion: sql.ref("rowid"),
  staging: "temporary",
};

/** All columns of texts have the collation "C": they compare by bytes, and `lower` changes ASCII letters only, both as in SQLite. */
export const POSTGRES_DIALECT: Dialect = {
  builder: new Kysely<Tables>({
    dialect: {
      ...driver,
      createAdapter: () => new PostgresAdapter(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  }),
  elements: (list) => sql`(select value from json_array_elements_text(${list}::json))`,
  objects: (list) => sql`(select value from json_array_elements(${list}::json))`,
  entry: (map, key) => sql`(${map}::json ->> ${sql.ref(key)})`,
  member: (column, name) => sql`(${sql.ref(column)}::json ->> ${sql.lit(name)})`,
  numericMember: (column, name) => sql`(${sql.ref(column)}::json ->> ${sql.lit(name)})::double precision`,
  caseless: (text) => sql`lower(${text})`,
  contains: (text, part) => sql`strpos(${text}, ${part}) > 0`,
  insertion: sql.ref("rowid"),
  staging: "shared",
};

/** As `caseless` has a column: only ASCII letters change. */
export function asciiLowerCase(text: string): string {
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
