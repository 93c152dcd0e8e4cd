import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import type { Sealed, SealedCredential } from "../../model/records.ts";
import type { Store } from "../../store/open-store.ts";
import { type KeyFile, KEY_FILE, type Key, readKey, newKey } from "./key-file.ts";

/** Seals and opens secrets with the installation's key, which lies outside the database. */
export type Vault = {
  /**
   * Makes the key where there is none yet. Call it in the transaction that stores the result: a rotation in between would drop its key.
   * Faults: CREDENTIALS_UNREADABLE while something lies sealed under a key that is missing. `keyIds`: those of the credentials, if that transaction has read them.
   */
  seal(context: SealContext, text: string, keyIds?: readonly string[]): Promise<Sealed>;
  /** As `seal`, for what a client keeps and the store does not. It is no write, unless there is no key yet. After a rotation it opens no longer. */
  sealForClient(context: SealContext, text: string): Promise<Sealed>;
  /** As `seal`, but checks once that all keys exist. */
  sealAll(secrets: readonly { context: SealContext; text: string }[]): Promise<Sealed[]>;
  /** `what` names it in the fault. Faults: CREDENTIALS_UNREADABLE. */
  open(context: SealContext, sealed: Sealed, what: string): string;
  /**
   * Makes a new key and seals everything anew with it. May be killed at any line: the old key stays until the new rows are durable, and
   * the next start finishes. Faults: REQUEST_INVALID where a setting gives the key, or several processes share the store; CREDENTIALS_UNREADABLE.
   */
  rotate(): Promise<{ keyId: string; resealed: number }>;
};

/** The context of a credential. */
export function credentialContext({ packageId, entity, name }: Pick<SealedCredential, "packageId" | "entity" | "name">): SealContext {
  return ["credential", packageId, entity, name];
}

/** The context of the token of a container's session. */
export function sessionContext(digest: string): SealContext {
  return ["session", digest];
}

/** The context of the ID token with which a session began at its provider. */
export function idTokenContext(digest: string): SealContext {
  return ["ID token", digest];
}

/** The context of the private part of a signing key. */
export function signingKeyContext(kid: string): SealContext {
  return ["signing key", kid];
}

/** The context of the URL and the secret of a webhook. */
export function webhookContext(id: string): SealContext {
  return ["webhook", id];
}

/** The result of opening or sealing something; undefined while the key for it is missing. */
export async function unlessKeyMissing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Fault && error.code === "CREDENTIALS_UNREADABLE") return undefined;
    throw error;
  }
}

const SETTING = "BERTH_CREDENTIALS_KEY";

/** A shared secret without a meaning: who can open it has the store's key. */
export const KEY_CHECK = "key check";

export function otherKey(needed: string, own: Pick<Key, "id"> | undefined): Fault {
  const has = own ? `this process has the key ${own.id}` : "this process has none";
  return new Fault(
    "SETTINGS_INVALID",
    `The database's secrets are sealed with the key ${needed}; ${has}. Set ${SETTING}, or copy ${KEY_FILE} from the data folder of another control process.`,
  );
}

/** The context of a secret that the processes of a shared store have in common. */
export function sharedSecretContext(name: string): SealContext {
  return ["shared secret", name];
}

/**
 * `given` are the keys of the setting, newest first; with them, the file's only open. Faults: DATA_FOLDER_UNUSABLE; SETTINGS_INVALID where several processes
 * share the store and this one has another key than it.
 */
export async function openVault(parts: { store: Store; keyFile: KeyFile; given: readonly string[]; log: Log }): Promise<Vault> {
  const { store, keyFile, log } = parts;
  const given = parts.given.flatMap((text) => readKey(text) ?? []);
  let kept = keyFile.read();

  const ring = (): Key[] => [...given, ...kept];
  const find = (id: string) => {
    const key = ring().find((one) => one.id === id);
    if (key) return key;
    // An operator may have put it back.
    kept = keyFile.read();
    return ring().find((key) => key.id === id);
  };
  const where = given.length > 0 ? `${SETTING} or ${keyFile.path}` : `${keyFile.path} (or ${SETTING})`;
  const missing = (id: string, what: string) =>
    new Fault("CREDENTIALS_UNREADABLE", `${what} need the key ${id}, which is missing. Put it back into ${where}; nothing is lost.`);

  const requireAll = async (ids?: readonly string[]) => {
    for (const id of ids ?? (await store.credentials.keyIds())) if (!find(id)) throw missing(id, "The credentials");
  };
  const current = async (keyIds?: readonly string[]): Promise<Key> => {
    await requireAll(keyIds);
    if (ring().length === 0) kept = keyFile.read();
    const [first] = ring();
    if (first) return first;
    const made = newKey();
    // Durable before the first row that needs it.
    keyFile.write([made]);
    kept = [made];
    log.info({ keyId: made.id }, `made the key of the credentials: ${keyFile.path}`);
    return made;
  };
  const open: Vault["open"] = (context, sealed, what) => {
    const key = find(sealed.keyId);
    if (!key) throw missing(sealed.keyId, what);
    const text = unseal(key, context, sealed);
    if (text === undefined) throw new Fault("CREDENTIALS_UNREADABLE", `${what} were changed outside berth and cannot be read. Set them again.`);
    return text;
  };

  /** Two processes with different keys would each seal what the other cannot open. */
  const checkSharedKey = async (): Promise<void> => {
    const check = await store.sharedSecrets.find(KEY_CHECK);
    if (check && !find(check.keyId)) throw otherKey(check.keyId, ring()[0]);
    if (check) return;
    await store.transaction(async () => {
      if (await store.sharedSecrets.find(KEY_CHECK)) return;
      await store.sharedSecrets.insert({ name: KEY_CHECK, ...seal(await current(), sharedSecretContext(KEY_CHECK), "") });
    });
    await checkSharedKey();
  };

  /** Everything under the current key, in one transaction; only then are the others dropped. */
  const finish = async (): Promise<number> => {
    const key = await current();
    const resealed = await store.transaction(async () => {
      const rows = (await store.credentials.all()).filter(({ keyId }) => keyId !== key.id);
      for (const row of rows) {
        const context = credentialContext(row);
        await store.credentials.update(row.id, seal(key, context, open(context, row, "Credentials")));
      }
      for (const { digest, start } of await store.sessions.ofContainers()) {
        if (!start?.sealed || start.sealed.keyId === key.id) continue;
        const old = find(start.sealed.keyId);
        const token = old && unseal(old, sessionContext(digest), start.sealed);
        await store.sessions.updateStart(digest, { ...start, sealed: token === undefined ? undefined : seal(key, sessionContext(digest), token) });
      }
      for (const { digest, idToken } of await store.providerSessions.sealed()) {
        if (!idToken || idToken.keyId === key.id) continue;
        const old = find(idToken.keyId);
        const token = old && unseal(old, idTokenContext(digest), idToken);
        // Without it, the provider asks its user whether to sign out.
        await store.providerSessions.updateIdToken(digest, token === undefined ? undefined : seal(key, idTokenContext(digest), token));
      }
      for (const row of await store.signingKeys.all()) {
        if (row.keyId === key.id) continue;
        const old = find(row.keyId);
        const pem = old && unseal(old, signingKeyContext(row.kid), row);
        // A key that cannot be opened no longer signs, and is replaced later.
        if (pem !== undefined) await store.signingKeys.reseal(row.kid, seal(key, signingKeyContext(row.kid), pem));
      }
      for (const row of await store.sharedSecrets.all()) {
        const context = sharedSecretContext(row.name);
        if (row.keyId !== key.id) await store.sharedSecrets.reseal(row.name, seal(key, context, open(context, row, "Shared secrets")));
      }
      for (const row of await store.webhooks.all()) {
        const context = webhookContext(row.id);
        const old = row.keyId === key.id ? undefined : find(row.keyId);
        const opened = old && unseal(old, context, row);
        // One that cannot be opened fails with a reason that its administrators see.
        if (opened !== undefined) await store.webhooks.reseal(row.id, seal(key, context, opened));
      }
      return rows.length;
    });
    if (given.length === 0 && kept.length > 1) {
      keyFile.write([key]);
      kept = [key];
    }
    return resealed;
  };

  if (store.isShared) await checkSharedKey();

  try {
    // A rotation that was cut short, or a setting with a new key in front of the old one.
    if (ring().length > 1) {
      const resealed = await finish();
      if (resealed > 0) log.info({ resealed }, "sealed the credentials with the newest key");
    } else await requireAll();
  } catch (error) {
    // Everything else works without credentials.
    if (!(error instanceof Fault)) throw error;
    log.error({ fault: error.code }, error.message);
  }

  return {
    seal: async (context, text, keyIds) => seal(await current(keyIds), context, text),
    sealForClient: async (context, text) => {
      const [key] = ring();
      return key ? seal(key, context, text) : store.transaction(async () => seal(await current(), context, text));
    },
    sealAll: async (secrets) => {
      if (secrets.length === 0) return [];
      const key = await current();
      return secrets.map(({ context, text }) => seal(key, context, text));
    },
    open,
    rotate: async () => {
      if (given.length > 0) {
        throw new Fault("REQUEST_INVALID", `The key comes from ${SETTING}: set that to the new key, a comma and the old one, and start berth again.`);
      }
      // The new key would be on this process's disk alone, and no other process could lead.
      if (store.isShared) {
        throw new Fault(
          "REQUEST_INVALID",
          `Other control processes would not have the new key. In each of them set ${SETTING} to the new key, a comma and the old one, and start it again.`,
        );
      }
      await requireAll();
      const made = newKey();
      keyFile.write([made, ...kept]);
      kept = [made, ...kept];
      return { keyId: made.id, resealed: await finish() };
    },
  };
}

/** The owner of a sealed value. The cipher authenticates it: a row that is copied to another place does not open there. */
export type SealContext = readonly string[];

const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM under a nonce of its own; the box is nonce, tag and ciphertext. */
export function seal(key: Key, context: SealContext, text: string): Sealed {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key.bytes, nonce, { authTagLength: TAG_BYTES }).setAAD(bound(context));
  const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
  return { keyId: key.id, box: Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64") };
}

/** Undefined: it was changed, or its context is another. */
function unseal(key: Key, context: SealContext, { box }: Sealed): string | undefined {
  const bytes = Buffer.from(box, "base64");
  try {
    const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(bound(context)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8");
  } catch {
    return undefined;
  }
}

/** As JSON, so that no two lists are the same text. */
function bound(context: SealContext): Buffer {
  return Buffer.from(JSON.stringify(context));
}
