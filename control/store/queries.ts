import { type Compilable, type InferResult, type Kysely, type RawBuilder } from "kysely";
import type { Database, DatabaseStatement } from "./database.ts";
import type { Dialect } from "./dialects.ts";
import type { Tables } from "./tables.ts";

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
  /** As `run`, as a part of a transaction that does not wait for it: where it fails, the transaction fails. */
  enqueue<P extends object>(build: (values: P) => Compilable): (values: P) => Promise<void>;
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
    enqueue: (build) => {
      const statement = compileOnce(build);
      return async (values) => database.enqueue(statement(values));
    },
    statement: compileOnce,
    raw: (statement) => ({ compile: () => statement.compile(dialect.builder) }),
  };
}
