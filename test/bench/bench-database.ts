import { startPostgres } from "../fixtures/postgres.ts";
import type { StoreDatabase } from "../fixtures/store-kinds.ts";

/** `--database postgres`: a benchmark runs on a PostgreSQL of its own, with its data on the disk, and durable. Without it, on SQLite. */
export type BenchDatabase = {
  name: "SQLite" | "PostgreSQL";
  /** The other words of the command line. */
  words: string[];
  /** A new database: options of `openStore`, and the same for the settings of a berth. */
  fresh(): Promise<{ database: StoreDatabase; env: Record<string, string> }>;
  close(): Promise<void>;
};

export async function openBenchDatabase(argv: readonly string[] = process.argv.slice(2)): Promise<BenchDatabase> {
  const at = argv.indexOf("--database");
  const words = argv.filter((_, index) => at < 0 || (index !== at && index !== at + 1));
  const chosen = at < 0 ? "sqlite" : argv[at + 1];
  if (chosen === "sqlite")
    return { name: "SQLite", words, fresh: async () => ({ database: { postgres: undefined }, env: {} }), close: async () => {} };
  if (chosen !== "postgres") throw new Error(`--database is sqlite or postgres, not ${chosen}`);
  const ends: (() => unknown)[] = [];
  const server = await startPostgres({ teardown: (end) => ends.push(end) }, ["fsync=on"], {}, { isOnDisk: true });
  return {
    name: "PostgreSQL",
    words,
    fresh: async () => {
      const postgres = await server.database();
      return { database: { postgres }, env: { BERTH_DATABASE_URL: postgres.url } };
    },
    close: async () => {
      for (const end of ends) await end();
    },
  };
}
