import { type PoolClient, Query } from "pg";
import t, { type Test } from "tap";
import { parsePostgresAddress } from "../../../../control/store/postgres/address.ts";
import { openPostgresPool } from "../../../../control/store/postgres/pool.ts";
import { systemClock } from "../../../../lib/clock.ts";
import { startPostgres } from "../../../fixtures/postgres.ts";

// `statement-batch.ts` uses parts of pg that are no part of its documented interface. A new version of pg that changes one of them fails here, by name.

const server = await startPostgres(t);
const advice = (part: string) => `${part} of pg is not what control/store/postgres/statement-batch.ts relies on; read how pg sends a query now`;

async function openedClient(t: Test): Promise<PoolClient> {
  const pool = await openPostgresPool(parsePostgresAddress(await server.database()), { connections: 1, clock: systemClock() });
  const closing = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<PoolClient>();
  const used = pool.use(async (client) => {
    opened.resolve(client);
    await closing.promise;
  });
  t.teardown(async () => {
    closing.resolve();
    await used;
    await pool.close();
  });
  return opened.promise;
}

t.test("pg has the parts that statement batches use", async (t) => {
  const client = await openedClient(t);
  const connection = client.connection as unknown as Record<string, unknown>;
  for (const method of ["parse", "bind", "describe", "execute", "sync"]) t.type(connection[method], "function", advice(`connection.${method}`));
  for (const method of ["cork", "uncork", "destroy"])
    t.type((connection["stream"] as Record<string, unknown>)[method], "function", advice(`connection.stream.${method}`));
  for (const field of ["parsedStatements", "submittedNamedStatements"]) t.type(connection[field], "object", advice(`connection.${field}`));
  t.type(client.getTypeParser(20, "text"), "function", advice("client.getTypeParser"));
});

t.test("pg calls a query as statement batches expect it", async (t) => {
  const client = await openedClient(t);
  const calls: [string, unknown][] = [];
  const ended = Promise.withResolvers<void>();
  type Sender = { parse(m: object): void; bind(m: object): void; describe(m: object): void; execute(m: null): void; sync(): void };
  class Probe extends Query {
    name = "probe";
    text = "SELECT $1::int8 AS n";
    callback = () => undefined;
    constructor() {
      super("");
      this.submit = (connection) => {
        const to = connection as unknown as Sender;
        to.parse({ name: this.name, text: this.text });
        to.bind({ statement: this.name, values: ["7"] });
        to.describe({ type: "P" });
        to.execute(null);
        to.sync();
      };
    }
    handleRowDescription({ fields }: { fields: { name: string; dataTypeID: number }[] }): void {
      calls.push(["handleRowDescription", fields.map(({ name, dataTypeID }) => [name, dataTypeID])]);
    }
    handleDataRow({ fields }: { fields: unknown[] }): void {
      calls.push(["handleDataRow", [...fields]]);
    }
    handleCommandComplete({ text }: { text: string }): void {
      calls.push(["handleCommandComplete", text]);
    }
    handleReadyForQuery(): void {
      calls.push(["handleReadyForQuery", undefined]);
      ended.resolve();
    }
    handleError(error: Error): void {
      ended.reject(error);
    }
  }
  client.query(new Probe());
  await ended.promise;
  t.strictSame(
    calls,
    [
      ["handleRowDescription", [["n", 20]]],
      ["handleDataRow", ["7"]],
      ["handleCommandComplete", "SELECT 1"],
      ["handleReadyForQuery", undefined],
    ],
    advice("the order or the form of a query's calls"),
  );
  const { parsedStatements } = client.connection as unknown as { parsedStatements: Record<string, string> };
  t.match(parsedStatements, { probe: "SELECT $1::int8 AS n" }, advice("the note of what the server has parsed"));
  const failed = Promise.withResolvers<unknown>();
  class Failing extends Probe {
    override text = "SELECT 1/0";
    override name = "failing";
    override handleError(error: Error): void {
      failed.resolve(error);
    }
  }
  const failing = new Failing();
  failing.submit = (connection) => {
    const to = connection as unknown as Sender;
    to.parse({ name: "failing", text: failing.text });
    to.bind({ statement: "failing", values: [] });
    to.execute(null);
    to.sync();
  };
  client.query(failing);
  t.match(await failed.promise, { code: "22012" }, advice("an error"));
  t.match(await client.query("SELECT 2 AS two"), { rows: [{ two: 2 }] }, advice("what follows an error"));
});
