import type { Sql } from "./sql.ts";
import { columnName, type ColumnsOf, type StoredValue } from "./tables.ts";

type StoredRow = Record<string, StoredValue>;

export type Rows<T> = {
  find(key: string): T | undefined;
  /** The rows that satisfy an SQL condition over columns, e.g. `"package_id = ? ORDER BY name"`. */
  where(condition: string, ...values: StoredValue[]): T[];
  insert(row: T): T;
  /** The row as it is now, or undefined where none has this key. */
  update(key: string, patch: Partial<T>): T | undefined;
  /** As `update`, for a row that was read in this transaction: returns it as it is now without reading it again. */
  change<K extends T>(row: K, patch: Partial<T>): K;
  /** Compare-and-set: as `update`, but only where the row still satisfies the condition. */
  updateWhere(key: string, patch: Partial<T>, condition: string, ...values: StoredValue[]): T | undefined;
  remove(key: string): boolean;
};

/** Reads and writes the entities of one table; `key` names its primary key. */
export function rowsOf<T extends object>(sql: Sql, table: string, key: keyof T & string, columns: ColumnsOf<T>): Rows<T> {
  const fields = Object.keys(columns) as (keyof T & string)[];
  const names = fields.map(columnName);
  const all = names.join(", ");
  const inserting = `INSERT INTO ${table} (${all}) VALUES (${fields.map(() => "?").join(", ")})`;
  const setting = new Map(fields.map((field, index) => [field, `${names[index]} = ?`]));

  const read = (row: StoredRow): T => {
    const entity: Partial<T> = {};
    for (const [index, field] of fields.entries()) entity[field] = columns[field].read(row[names[index] as string] as StoredValue);
    return entity as T;
  };
  const write = <K extends keyof T>(field: K, row: Partial<T>): StoredValue => columns[field].write(row[field] as T[K]);

  const assign = (changed: readonly (keyof T & string)[]) => changed.map((field) => setting.get(field)).join(", ");
  const updateWhere: Rows<T>["updateWhere"] = (id, patch, condition, ...values) => {
    const changed = fields.filter((field) => field in patch);
    if (changed.length === 0) return sql.all<StoredRow>(`SELECT ${all} FROM ${table} WHERE ${key} = ? AND ${condition}`, id, ...values).map(read)[0];
    const written = changed.map((field) => write(field, patch));
    return sql
      .change<StoredRow>(`UPDATE ${table} SET ${assign(changed)} WHERE ${key} = ? AND ${condition} RETURNING ${all}`, ...written, id, ...values)
      .map(read)[0];
  };

  return {
    find: (id) => sql.all<StoredRow>(`SELECT ${all} FROM ${table} WHERE ${key} = ?`, id).map(read)[0],
    where: (condition, ...values) => sql.all<StoredRow>(`SELECT ${all} FROM ${table} WHERE ${condition}`, ...values).map(read),
    insert: (row) => {
      sql.run(inserting, ...fields.map((field) => write(field, row)));
      return row;
    },
    update: (id, patch) => updateWhere(id, patch, "TRUE"),
    change: (row, patch) => {
      const changed = fields.filter((field) => field in patch);
      sql.run(`UPDATE ${table} SET ${assign(changed)} WHERE ${key} = ?`, ...changed.map((field) => write(field, patch)), String(row[key]));
      return { ...row, ...patch };
    },
    updateWhere,
    remove: (id) => sql.run(`DELETE FROM ${table} WHERE ${key} = ?`, id) > 0,
  };
}
