import { type Kysely, type RawBuilder, type SelectQueryBuilder, sql } from "kysely";
import type { DatabaseStatement } from "./database.ts";
import { compileOnce, type Queries } from "./queries.ts";
import { type TableColumn, columnName, type EntityOf, type StoredValue, TABLES, type TableName, type Tables } from "./tables.ts";

type StoredEntity = Record<string, StoredValue>;
type Values = Record<string, StoredValue>;

/** Conditions, order and limit of a query over one table; what it selects stays. */
type Narrow<N extends TableName, P> = (query: SelectQueryBuilder<Tables, N, object>, values: P) => SelectQueryBuilder<Tables, N, object>;

export type EntityReader<N extends TableName, T> = {
  find(key: string): Promise<T | undefined>;
  /** The rows that the query leaves. `unordered`: by `Database.readUnordered`. */
  list<P extends object>(narrow: Narrow<N, P>, order?: "unordered"): (values: P) => Promise<T[]>;
  /** The first of them. */
  first<P extends object>(narrow: Narrow<N, P>): (values: P) => Promise<T | undefined>;
};

export type EntityTable<N extends TableName, T> = EntityReader<N, T> & {
  insert(entity: T): Promise<T>;
  /** As `insert`, as a part of a transaction that does not wait for it: where it fails, the transaction fails. */
  enqueueInsert(entity: T): Promise<void>;
  /** The entity as it is now, or undefined where none has this key. */
  update(key: string, patch: Partial<T>): Promise<T | undefined>;
  /** As `update`, for what was read in this transaction, which does not wait for it: where it fails, the transaction fails. Returns the entity as it is then. */
  enqueueChange<E extends T>(entity: E, patch: Partial<T>): Promise<E>;
  /** Compare-and-set: as `update`, but only where the row still satisfies the condition. */
  updateWhere<P extends object>(condition: (values: P) => RawBuilder<unknown>): (key: string, patch: Partial<T>, values: P) => Promise<T | undefined>;
  /** As `updateWhere`, as a part of a transaction that does not wait for it: where it fails, the transaction fails. */
  enqueueUpdateWhere<P extends object>(condition: (values: P) => RawBuilder<unknown>): (key: string, patch: Partial<T>, values: P) => Promise<void>;
  remove(key: string): Promise<boolean>;
  /** The same rows with a few of their fields. */
  pick<F extends keyof T & string>(...fields: F[]): EntityReader<N, Pick<T, F>>;
};

/** Reads and writes the entities of one table; `key` names its primary key. `staged`: another table with the columns of this one. */
export function createEntityTable<N extends TableName>(
  queries: Queries,
  name: N,
  key: keyof EntityOf<N> & string,
  staged?: `staged_${N}`,
): EntityTable<N, EntityOf<N>> {
  type T = EntityOf<N>;
  const { database } = queries;
  const builder = queries.builder as unknown as Kysely<{ entity: StoredEntity }>;
  const table = (staged ?? name) as unknown as "entity";
  const columns = TABLES[name] as unknown as Record<string, TableColumn<unknown>>;
  const allFields = Object.keys(columns) as (keyof T & string)[];
  const keyColumn = columnName(key);
  const write = (field: string, entity: Partial<T>): StoredValue => columns[field]?.write(entity[field as keyof T]) ?? null;

  const readerOf = <F extends keyof T & string>(fields: readonly F[]) => {
    const names = fields.map(columnName);
    const readers = fields.map((field, index) => ({ field, column: names[index] ?? "", read: (columns[field] as TableColumn<unknown>).read }));
    const read = (row: object): Pick<T, F> => {
      const entity: Record<string, unknown> = {};
      for (const { field, column, read: readColumn } of readers) entity[field] = readColumn((row as StoredEntity)[column] ?? null);
      return entity as Pick<T, F>;
    };
    const list: EntityReader<N, Pick<T, F>>["list"] = (narrow, order) => {
      const selected = builder.selectFrom(table).select(names) as unknown as SelectQueryBuilder<Tables, N, object>;
      const statement = compileOnce<Parameters<typeof narrow>[1]>((values) => narrow(selected, values));
      const rows = order === "unordered" ? database.readUnordered : database.read;
      return async (values) => (await rows(statement(values))).map(read);
    };
    const first: EntityReader<N, Pick<T, F>>["first"] = (narrow) => {
      const rows = list(narrow);
      return async (values) => (await rows(values))[0];
    };
    const byKey = compileOnce<{ key: string }>((values) => builder.selectFrom(table).select(names).where(keyColumn, "=", values.key));
    const find = async (value: string) => {
      const [row] = await database.read(byKey({ key: value }));
      return row && read(row);
    };
    return { read, names, reader: { find, list, first } };
  };

  const { read, names, reader } = readerOf(allFields);
  const inserting = compileOnce<Values>((values) =>
    builder.insertInto(table).values(Object.fromEntries(names.map((column) => [column, values[column] as StoredValue]))),
  );
  const deleting = compileOnce<{ key: string }>((values) => builder.deleteFrom(table).where(keyColumn, "=", values.key));

  /** One statement for each set of fields that is ever changed together. */
  const updates = (condition: (values: never) => RawBuilder<unknown>, isReturning: boolean) => {
    const statements = new Map<string, (values: Values) => DatabaseStatement>();
    return (changed: readonly string[]): ((values: Values) => DatabaseStatement) => {
      const compiled = statements.get(changed.join());
      if (compiled) return compiled;
      const fresh = compileOnce<Values>((values) => {
        const set = Object.fromEntries(changed.map((field) => [columnName(field), values[`set ${field}`] as StoredValue]));
        const where = sql<boolean>`${sql.ref(keyColumn)} = ${values["the key"]} and (${condition(values as never)})`;
        if (changed.length === 0) return builder.selectFrom(table).select(names).where(where);
        const update = builder.updateTable(table).set(set).where(where);
        return isReturning ? update.returning(names) : update;
      });
      statements.set(changed.join(), fresh);
      return fresh;
    };
  };
  const valuesOf = (id: string, changed: readonly string[], patch: Partial<T>): Values => ({
    "the key": id,
    ...Object.fromEntries(changed.map((field) => [`set ${field}`, write(field, patch)])),
  });
  const updateWhere: EntityTable<N, T>["updateWhere"] = (condition) => {
    const statementOf = updates(condition, true);
    return async (id, patch, values) => {
      const changed = allFields.filter((field) => field in patch);
      const statement = statementOf(changed)({ ...values, ...valuesOf(id, changed, patch) });
      const [row] = changed.length === 0 ? await database.read(statement) : await database.write(statement);
      return row && (read(row) as T);
    };
  };
  const enqueueUpdateWhere: EntityTable<N, T>["enqueueUpdateWhere"] = (condition) => {
    const statementOf = updates(condition, false);
    return async (id, patch, values) => {
      const changed = allFields.filter((field) => field in patch);
      if (changed.length > 0) await database.enqueue(statementOf(changed)({ ...values, ...valuesOf(id, changed, patch) }));
    };
  };
  const updateAlways = updateWhere<object>(() => sql`true`);
  const changing = updates(() => sql`true`, false);

  const insertion = (entity: T) => inserting(Object.fromEntries(allFields.map((field, index) => [names[index], write(field, entity)])));

  return {
    ...(reader as EntityReader<N, T>),
    insert: async (entity) => {
      await database.run(insertion(entity));
      return entity;
    },
    enqueueInsert: (entity) => database.enqueue(insertion(entity)),
    update: (id, patch) => updateAlways(id, patch, {}),
    enqueueChange: async (entity, patch) => {
      const changed = allFields.filter((field) => field in patch);
      await database.enqueue(changing(changed)(valuesOf(String(entity[key]), changed, patch)));
      const stored = changed.map((field) => [field, columns[field]?.read(write(field, patch))]);
      return { ...entity, ...(Object.fromEntries(stored) as Partial<T>) };
    },
    updateWhere,
    enqueueUpdateWhere,
    remove: async (id) => (await database.run(deleting({ key: id }))) > 0,
    pick: (...fields) => readerOf(fields).reader,
  };
}
