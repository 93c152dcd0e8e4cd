import type pg from "pg";
import type { Connection, PoolClient } from "pg";

/** `rowCount`: how many rows it returned or changed. `command`: the first word of what the server did. */
export type StatementResult = { rows: Record<string, unknown>[]; rowCount: number; command: string };

/** `name`: under which each connection prepares it once; undefined: it is not prepared. */
type NamedStatement = { name: string | undefined; sql: string; values: readonly (string | Buffer | null)[] };
type ResultColumn = { name: string; parse: (text: string) => unknown };
type BatchedStatement = NamedStatement &
  StatementResult & { columns: readonly ResultColumn[] | undefined; done: PromiseWithResolvers<StatementResult> };

/** What pg calls and has, as pg-cursor uses it. Its types leave that out. */
type Messages = Pick<Connection, "stream" | "sync"> & {
  parsedStatements: Record<string, string>;
  submittedNamedStatements: Record<string, string>;
  parse(message: { name: string; text: string }): void;
  bind(message: { statement: string; values: readonly unknown[] }): void;
  describe(message: { type: "P" }): void;
  execute(message: null): void;
};
type DescribedFields = { fields: readonly { name: string; dataTypeID: number }[] };

/**
 * Sends the statements that one turn of the event loop runs on a connection as one message, which the server answers with one: pg sends each by itself, and
 * for each write and each answer both processes wake. What a connection has prepared is not described again.
 *
 * `isAlone`: outside a transaction, as the only statement. Others of the same turn belong to the same transaction, whose BEGIN comes first: where one fails, those
 * after it are not run, and fail with the same error.
 */
export type SendStatement = (client: PoolClient, statement: NamedStatement, isAlone: boolean) => Promise<StatementResult>;

export function createStatementBatches({ Query }: Pick<typeof pg, "Query">): SendStatement {
  const columnsOf = new WeakMap<object, Map<string, readonly ResultColumn[]>>();
  const unsent = new WeakMap<PoolClient, StatementBatch>();

  class StatementBatch extends Query {
    readonly client: PoolClient;
    readonly isAlone: boolean;
    readonly statements: BatchedStatement[] = [];
    readonly described: Map<string, readonly ResultColumn[]>;
    /** The one that the server runs. */
    at = 0;
    /** What a parser of a column threw. */
    unreadable: unknown = undefined;
    /** pg notes with these what the server has parsed. */
    name: string | undefined = undefined;
    text = "";
    /** pg's limit of time waits for its call. */
    callback: (error: unknown) => void = () => undefined;

    constructor(client: PoolClient, isAlone: boolean) {
      super("");
      this.client = client;
      this.isAlone = isAlone;
      this.described = columnsOf.get(client) ?? new Map<string, readonly ResultColumn[]>();
      columnsOf.set(client, this.described);
      // The methods of pg's own class are fields of its type.
      this.submit = (connection) => this.send(connection as unknown as Messages);
    }

    add(statement: NamedStatement): Promise<StatementResult> {
      const done = Promise.withResolvers<StatementResult>();
      this.statements.push({ ...statement, columns: undefined, rows: [], rowCount: 0, command: "", done });
      return done.promise;
    }

    send(connection: Messages): void {
      const { parsedStatements: parsed, submittedNamedStatements: submitted } = connection;
      this.begin(0);
      connection.stream.cork();
      for (const statement of this.statements) {
        const { name = "", sql, values } = statement;
        if (name === "" || (parsed[name] === undefined && submitted[name] === undefined)) {
          connection.parse({ name, text: sql });
          if (name !== "") submitted[name] = sql;
        }
        connection.bind({ statement: name, values });
        statement.columns = this.described.get(name);
        if (!statement.columns) connection.describe({ type: "P" });
        connection.execute(null);
      }
      connection.sync();
      connection.stream.uncork();
    }

    begin(at: number): void {
      this.at = at;
      this.name = this.statements[at]?.name;
      this.text = this.statements[at]?.sql ?? "";
    }

    handleRowDescription({ fields }: DescribedFields): void {
      const statement = this.statements[this.at];
      if (!statement) return;
      statement.columns = fields.map(({ name, dataTypeID }) => ({
        name,
        parse: this.client.getTypeParser(dataTypeID, "text") as ResultColumn["parse"],
      }));
      if (statement.name !== undefined) this.described.set(statement.name, statement.columns);
    }

    handleDataRow({ fields }: { fields: readonly (string | null)[] }): void {
      const { rows, columns = [] } = this.statements[this.at] ?? {};
      const row: Record<string, unknown> = {};
      for (let index = 0; index < columns.length; index++) {
        const { name, parse } = columns[index] as ResultColumn;
        const text = fields[index] ?? null;
        try {
          row[name] = text === null ? null : parse(text);
        } catch (error) {
          this.unreadable ??= error;
        }
      }
      rows?.push(row);
    }

    handleCommandComplete({ text }: { text: string }): void {
      const statement = this.statements[this.at];
      if (!statement) return;
      // "INSERT 0 1", "UPDATE 1", "COMMIT".
      const words = text.split(" ");
      statement.command = words[0] ?? "";
      statement.rowCount = Number(words.at(-1)) || 0;
      // Without rows it is not described either.
      if (statement.name !== undefined && !statement.columns) this.described.set(statement.name, []);
      this.begin(this.at + 1);
    }

    handleEmptyQuery(): void {
      this.begin(this.at + 1);
    }

    handleReadyForQuery(): void {
      for (const { done, rows, rowCount, command } of this.statements) {
        if (this.unreadable === undefined) done.resolve({ rows, rowCount, command });
        else done.reject(this.unreadable);
      }
      this.callback(null);
    }

    handleError(error: unknown, connection: Messages): void {
      for (const [index, { name, done, rows, rowCount, command }] of this.statements.entries()) {
        // A statement alone is committed only after its result.
        if (index < this.at && !this.isAlone) done.resolve({ rows, rowCount, command });
        else {
          if (name !== undefined) delete connection.submittedNamedStatements[name];
          done.reject(error);
        }
      }
      this.callback(error);
    }
  }

  return (client, statement, isAlone) => {
    let batch = unsent.get(client);
    if (!batch) {
      const fresh = (batch = new StatementBatch(client, isAlone));
      unsent.set(client, fresh);
      // After all that promises call in this turn.
      queueMicrotask(() =>
        process.nextTick(() => {
          unsent.delete(client);
          try {
            client.query(fresh);
          } catch (error) {
            // A part of it may be sent.
            fresh.handleError(error, client.connection as unknown as Messages);
            client.connection.stream.destroy();
          }
        }),
      );
    }
    return batch.add(statement);
  };
}
