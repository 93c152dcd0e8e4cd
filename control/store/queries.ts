import {
  type Compilable,
  DummyDriver,
  type InferResult,
  Kysely,
  type RawBuilder,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} from "kysely";
import type { Database, DatabaseStatement } from "./database.ts";
import type { Tables } from "./tables.ts";

/** What the queries need of a database that other databases spell otherwise. */
export type Dialect = {
  builder: Kysely<Tables>;
  /** The elements of a list that comes as one JSON text, so that one statement serves lists of each length. */
  elements(list: string): RawBuilder<string>;
  /** What a map that comes as one JSON text has under the value of a column. */
  entry(map: string, key: string): RawBuilder<string>;
  /** A member of a JSON column; as the indexes have it. */
  member<V>(column: string, name: string): RawBuilder<V>;
  /** Compares and orders texts in whatever case; as the indexes have it. */
  caseless(text: RawBuilder<string>): RawBuilder<string>;
  contains(text: RawBuilder<string>, part: RawBuilder<string>): RawBuilder<boolean>;
  /** Rows of a table in the order in which they were inserted. */
  insertion: RawBuilder<number>;
  /** The name of an index of a temporary table, where it is made. */
  temporary(index: string): RawBuilder<unknown>;
};

export const SQLITE_DIALECT: Dialect = {
  builder: new Kysely<Tables>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  }),
  elements: (list) => sql`(select value from json_each(${list}))`,
  entry: (map, key) => sql`(${map} ->> ${sql.ref(key)})`,
  member: (column, name) => sql`json_extract(${sql.ref(column)}, ${sql.lit(`$.${name}`)})`,
  caseless: (text) => sql`${text} collate nocase`,
  contains: (text, part) => sql`instr(${text}, ${part}) > 0`,
  insertion: sql.ref("rowid"),
  temporary: (index) => sql.ref(`temp.${index}`),
};

/** Stands in a statement for a value that each call gives. */
class Placeholder {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** Builds and compiles a statement once; each call puts its values in. `P` names them. */
export function compileOnce<P extends object>(build: (values: P) => Compilable): (values: P) => DatabaseStatement {
  const placeholders = new Proxy({}, { get: (_, name) => new Placeholder(String(name)) });
  const { sql: text, parameters } = build(placeholders as P).compile();
  return (values) => ({
    sql: text,
    parameters: parameters.map((one) => (one instanceof Placeholder ? values[one.name as keyof P] : one)),
  });
}

/** What entities read and write with. Statements are built when the store opens. */
export type Queries = {
  database: Database;
  dialect: Dialect;
  /** Typed by the tables. */
  builder: Kysely<Tables>;
  select<P extends object, Q extends Compilable>(build: (values: P) => Q): (values: P) => Promise<InferResult<Q>>;
  /** Returns how many rows it changed. */
  run<P extends object>(build: (values: P) => Compilable): (values: P) => Promise<number>;
  statement: typeof compileOnce;
  /** A statement as SQL, for what the builder has no words for. */
  raw<R>(statement: RawBuilder<R>): Compilable<R>;
};

export function createQueries(database: Database, dialect: Dialect): Queries {
  return {
    database,
    dialect,
    builder: dialect.builder,
    select: (build) => {
      const statement = compileOnce(build);
      return async (values) => (await database.read(statement(values))) as InferResult<ReturnType<typeof build>>;
    },
    run: (build) => {
      const statement = compileOnce(build);
      return async (values) => database.run(statement(values));
    },
    statement: compileOnce,
    raw: (statement) => ({ compile: () => statement.compile(dialect.builder) }),
  };
}
