import type { Database as SqliteDatabase } from "better-sqlite3";
import type { PoolClient } from "pg";
import { Fault } from "../../../lib/fault.ts";
import { columnName, type StoredValue, TABLES, type TableName } from "../tables.ts";
import { WRITE_LOCK } from "./connection.ts";
import { storableValues } from "./prepared.ts";

type CopiedTable = {
  table: TableName;
  /** By which both databases order the rows in the same way. */
  key: string;
  /** In which rows are inserted, where that order has a meaning. */
  inserted?: "rowid";
  /** Rows at a time: fewer of those that are large. */
  rows?: number;
};

/** Every table of the schema that has rows of its own, those that others refer to first. `store` is last: copying counts as no change of it. */
export const COPIED: readonly CopiedTable[] = [
  { table: "users", key: "id" },
  { table: "group_members", key: "name, user_id" },
  { table: "dev_keys", key: "digest" },
  { table: "trusted_publishers", key: "name" },
  { table: "job_tokens", key: "digest" },
  { table: "packages", key: "id" },
  { table: "repositories", key: "key" },
  { table: "connections", key: "id" },
  { table: "credentials", key: "id" },
  { table: "signing_keys", key: "kid", inserted: "rowid" },
  { table: "images", key: "id" },
  { table: "containers", key: "id" },
  { table: "package_versions", key: "id" },
  { table: "version_folders", key: "version_id, folder" },
  { table: "sessions", key: "digest", inserted: "rowid" },
  { table: "provider_sessions", key: "digest" },
  { table: "tombstones", key: "id" },
  { table: "history", key: "seq" },
  { table: "wakes", key: "seq" },
  { table: "audit", key: "seq" },
  { table: "series_points", key: "step, at, series" },
  { table: "use_weeks", key: "container, week" },
  { table: "shared_secrets", key: "name" },
  { table: "shared_texts", key: "name" },
  { table: "published_files", key: "folder, path, part", rows: 4 },
  { table: "webhooks", key: "id" },
  { table: "webhook_deliveries", key: "seq" },
  { table: "store", key: "id" },
];

const ROWS = 200;
/** They are ordered by a number that no entity has. */
const NUMBERED: ReadonlySet<TableName> = new Set(["history", "wakes"]);

type Row = Record<string, StoredValue>;

/** All columns of a table. */
export function columnsOf(table: TableName): string[] {
  const columns = Object.keys(TABLES[table]).map(columnName);
  return NUMBERED.has(table) ? ["seq", ...columns] : columns;
}

/** `tables`: only these, for a file of a backup, which has published files as its own. */
type CopyOptions = { tables?: readonly CopiedTable[] };

/** Copies the rows of a SQLite store into an empty PostgreSQL store; call it in a transaction. Returns how many there were. */
export async function copyRowsToPostgres(from: SqliteDatabase, to: PoolClient, { tables = COPIED }: CopyOptions = {}): Promise<number> {
  let count = 0;
  for (const { table, key, inserted = key, rows = ROWS } of tables) {
    const columns = columnsOf(table);
    const select = from.prepare(`SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${inserted}`);
    for (const page of pagesOf(select.iterate() as IterableIterator<Row>, rows)) {
      count += page.length;
      await insertRows(to, table, columns, page);
    }
    if (NUMBERED.has(table))
      await to.query(`SELECT setval(pg_get_serial_sequence('${table}', 'seq'), (SELECT coalesce(max(seq), 0) + 1 FROM ${table}), false)`);
  }
  return count;
}

/** Copies the rows of a PostgreSQL store into a new SQLite store; call it in a transaction of one snapshot. Returns how many there were. */
export async function copyRowsToSqlite(from: PoolClient, to: SqliteDatabase, { tables = COPIED }: CopyOptions = {}): Promise<number> {
  let count = 0;
  for (const { table, key, inserted = key, rows = ROWS } of tables) {
    const columns = columnsOf(table);
    const insert = to.prepare(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`);
    for await (const page of readPages(from, `SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${inserted}`, rows)) {
      to.transaction(() => {
        for (const row of page) insert.run(columns.map((column) => row[column]));
      })();
      count += page.length;
    }
  }
  return count;
}

/** Compares each row of both stores. Faults: BACKUP_UNUSABLE with the first one that differs. */
export async function verifyCopy(sqlite: SqliteDatabase, postgres: PoolClient, { tables = COPIED }: CopyOptions = {}): Promise<void> {
  for (const { table, key, rows = ROWS } of tables) {
    const columns = columnsOf(table);
    const text = `SELECT ${columns.join(", ")} FROM ${table} ORDER BY ${key}`;
    const own = sqlite.prepare(text).iterate() as IterableIterator<Row>;
    const differs = (row: Row | undefined) =>
      new Fault(
        "BACKUP_UNUSABLE",
        `The copy differs in a row of ${table}${
          row
            ? ` (${key
                .split(", ")
                .map((one) => String(row[one]))
                .join(", ")})`
            : ""
        }: copy again.`,
      );
    try {
      for await (const page of readPages(postgres, text, rows)) {
        for (const row of page) {
          const { value } = own.next() as { value: Row | undefined };
          if (!value || columns.some((column) => !isSame(value[column] ?? null, row[column] ?? null))) throw differs(row);
        }
      }
      const rest = own.next() as { done?: boolean; value: Row | undefined };
      if (rest.done !== true) throw differs(rest.value);
    } finally {
      // The database cannot be closed before.
      own.return?.();
    }
  }
}

function isSame(one: StoredValue, other: StoredValue): boolean {
  if (one instanceof Uint8Array && other instanceof Uint8Array) return Buffer.compare(one, other) === 0;
  return storableValues([one])[0] === storableValues([other])[0];
}

/** Begins a transaction that sees one moment of the store, whatever others write meanwhile. */
export async function beginSnapshot(client: PoolClient): Promise<void> {
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
}

/** Begins a transaction that other writers of the store wait for. */
export async function beginExclusive(client: PoolClient): Promise<void> {
  await client.query(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(${WRITE_LOCK})`);
}

/** Empties all tables. */
export async function clearTables(client: PoolClient): Promise<void> {
  await client.query(`TRUNCATE ${COPIED.map(({ table }) => table).join(", ")} CASCADE`);
}

async function* readPages(client: PoolClient, text: string, rows: number): AsyncGenerator<Row[]> {
  await client.query(`DECLARE copied NO SCROLL CURSOR FOR ${text}`);
  try {
    for (;;) {
      const { rows: page } = await client.query<Row>(`FETCH ${rows} FROM copied`);
      if (page.length === 0) return;
      yield page;
    }
  } finally {
    await client.query("CLOSE copied");
  }
}

function* pagesOf<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let page: T[] = [];
  for (const item of items) {
    page.push(item);
    if (page.length < size) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

export async function insertRows(client: PoolClient, table: string, columns: readonly string[], rows: readonly Row[]): Promise<void> {
  const values = rows.flatMap((row) => columns.map((column) => row[column] ?? null));
  const places = rows.map((_, row) => `(${columns.map((_column, index) => `$${row * columns.length + index + 1}`).join(", ")})`);
  await client.query(`INSERT INTO ${table} (${columns.join(", ")}) VALUES ${places.join(", ")}`, storableValues(values));
}
