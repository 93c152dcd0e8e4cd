import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { replaceFile } from "../../lib/replace-file.ts";
import { type Key } from "../packages/credentials/key-file.ts";
import { KEY_CHECK, otherKey, sharedSecretContext, type Vault } from "../packages/credentials/open-vault.ts";
import { GATEWAY_TOKEN_FILE } from "../../gateway/contract.ts";
import type { Store } from "../store/open-store.ts";
import { parsePostgresAddress, type PostgresOptions } from "../store/postgres/address.ts";
import { openPostgresPool } from "../store/postgres/pool.ts";
import { migratePostgres } from "../store/postgres/schema.ts";
import { ADMIN_KEY_FILE } from "./admin-key.ts";

/** How long another process may take to notice a new token of the gateways. */
const PULL_MS = 5_000;

/**
 * Small files of the data folder that all processes of a shared store have in common: the first user's key, sealed, and the token of gateways. The store's
 * copy counts; those in the data folders are for commands on these machines. Nothing happens where the store is not shared.
 */
export type SharedFolder = {
  /** Writes what the store has into the data folder. */
  pull(): Promise<void>;
  /** Stores what it does not have yet. */
  push(): Promise<void>;
};

type SharedFolderDeps = {
  store: Pick<Store, "isShared" | "sharedTexts" | "sharedSecrets" | "transaction">;
  vault: Pick<Vault, "open" | "seal">;
  folder: string;
};

export function createSharedFolder({ store, vault, folder }: SharedFolderDeps): SharedFolder {
  return {
    pull: async () => {
      if (!store.isShared) return;
      await pullSharedText(store, folder, GATEWAY_TOKEN_FILE);
      const admin = await store.sharedSecrets.find(ADMIN_KEY_FILE);
      if (admin) writeText(folder, ADMIN_KEY_FILE, vault.open(sharedSecretContext(ADMIN_KEY_FILE), admin, "The first user's key"));
    },
    push: async () => {
      if (!store.isShared) return;
      await pushSharedText(store, folder, GATEWAY_TOKEN_FILE);
      const key = readText(folder, ADMIN_KEY_FILE);
      if (key === undefined) return;
      await store.transaction(async () => {
        if (await store.sharedSecrets.find(ADMIN_KEY_FILE)) return;
        await store.sharedSecrets.insert({ name: ADMIN_KEY_FILE, ...(await vault.seal(sharedSecretContext(ADMIN_KEY_FILE), key)) });
      });
    },
  };
}

/** What a process that has not opened the store does with it: a standby, which may come to lead at any moment. */
export type SharedFolderReader = { close(): Promise<void> };

/**
 * Keeps the token of gateways in the data folder that of the database. `keys`: those of the credentials that this process has. Faults: SETTINGS_INVALID if
 * the database has another one; a database that is away is no fault here.
 */
export async function openSharedFolderReader(options: {
  postgres: PostgresOptions;
  folder: string;
  keys: readonly Pick<Key, "id">[];
  clock: Clock;
}): Promise<SharedFolderReader> {
  const { postgres, folder, keys, clock } = options;
  const pool = await openPostgresPool(parsePostgresAddress(postgres), { connections: 2, clock });
  const closing = new AbortController();
  /** Undefined where there is no such row, no such table, or no database at the moment. */
  const valueOf = async (sql: string): Promise<string | undefined> => {
    try {
      return ((await pool.query({ sql, parameters: [] })).rows[0] as { value: string } | undefined)?.value;
    } catch {
      return undefined;
    }
  };
  const pull = async () => {
    const token = await valueOf(`SELECT text AS value FROM shared_texts WHERE name = '${GATEWAY_TOKEN_FILE}'`);
    if (token !== undefined) writeText(folder, GATEWAY_TOKEN_FILE, token);
  };
  const follow = async () => {
    for (;;) {
      await clock.sleep(PULL_MS, closing.signal);
      await pull();
    }
  };
  const needed = await valueOf(`SELECT key_id AS value FROM shared_secrets WHERE name = '${KEY_CHECK}'`);
  if (needed !== undefined && !keys.some(({ id }) => id === needed)) {
    await pool.close();
    throw otherKey(needed, keys[0]);
  }
  await pull();
  void follow().catch(() => undefined);
  return {
    close: async () => {
      closing.abort();
      await pool.close();
    },
  };
}

/** Runs `change`, which may write the token of gateways into the data folder, and stores the result for all processes. Faults: STORE_UNAVAILABLE. */
export async function changeSharedToken<R>(options: { postgres: PostgresOptions; folder: string; clock: Clock }, change: () => R): Promise<R> {
  const { postgres, folder, clock } = options;
  const pool = await openPostgresPool(parsePostgresAddress(postgres), { connections: 2, clock });
  try {
    await migratePostgres(pool);
    const { rows } = await pool.query({ sql: "SELECT text FROM shared_texts WHERE name = $1", parameters: [GATEWAY_TOKEN_FILE] });
    const [stored] = rows as { text: string }[];
    if (stored) writeText(folder, GATEWAY_TOKEN_FILE, stored.text);
    const result = change();
    const sql = "INSERT INTO shared_texts (name, text) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET text = excluded.text";
    await pool.query({ sql, parameters: [GATEWAY_TOKEN_FILE, readText(folder, GATEWAY_TOKEN_FILE) ?? ""] });
    return result;
  } finally {
    await pool.close();
  }
}

type TextDeps = Pick<Store, "sharedTexts">;

async function pullSharedText({ sharedTexts }: TextDeps, folder: string, name: string): Promise<void> {
  const text = await sharedTexts.find(name);
  if (text !== undefined) writeText(folder, name, text);
}

async function pushSharedText({ sharedTexts }: TextDeps, folder: string, name: string): Promise<void> {
  const text = readText(folder, name);
  if (text === undefined) return;
  if ((await sharedTexts.find(name)) === undefined) await sharedTexts.put(name, text);
}

function readText(folder: string, name: string): string | undefined {
  try {
    return readFileSync(join(folder, name), "utf8");
  } catch {
    return undefined;
  }
}

function writeText(folder: string, name: string, text: string): void {
  if (readText(folder, name) !== text) replaceFile(join(folder, name), text, { mode: 0o600, ownedByFolder: true });
}
