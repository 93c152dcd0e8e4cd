import { createHash, createHmac, randomBytes } from "node:crypto";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { Container, DevKey, Session, User } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
import { sessionContext, unlessKeyMissing, type Vault } from "../packages/credentials/open-vault.ts";
import type { Store } from "../store/open-store.ts";

/**
 * The stored form of a token or key. They are random and long, so a plain SHA-256 keeps them secret, and the time of a look-up by digest reveals
 * nothing.
 */
export function tokenDigest(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

/**
 * The token that containers are given in place of a session's own. It follows from the session's token, and that does not follow from it; so every gateway gets
 * the same one, and nothing but its digest is kept.
 */
export function derivedToken(token: string): string {
  return createHmac("sha256", token).update("berth: token for containers").digest("base64url");
}

export function derivedDigest(token: string): string {
  return tokenDigest(derivedToken(token));
}

/** The id of a developer key: short, since users type it, and not a part of the key. */
export function keyId(): string {
  return randomBytes(4).toString("hex");
}

/** Its end is that of the container, so it has none of its own. */
const NEVER = Number.MAX_SAFE_INTEGER;

/**
 * In these states no running container has the token. In ERROR the container may still run and recover: its token is kept, but is
 * not valid meanwhile.
 */
const STATES_WITHOUT_TOKEN: readonly ContainerState[] = ["PENDING_START", "USER_STOPPED", "SYSTEM_STOPPED", "ERROR"];

/** Whether the token of a container's session counts now; it follows from the container's state alone, so no stop can miss it. */
export function isContainerTokenValid(container: Container | undefined): boolean {
  return container !== undefined && !STATES_WITHOUT_TOKEN.includes(container.state);
}

/** What a container's token follows from, besides its row. */
export type TokenRecords = { user: User | undefined; key: DevKey | undefined; before: Session[]; keyIds: string[] };

type TokenRequester = Pick<Container, "id" | "requestedBy" | "requestedKey">;

/** All sent together. Undefined where no user is behind the start. */
export async function readTokenRecords(store: Store, { id, requestedBy, requestedKey }: TokenRequester): Promise<TokenRecords | undefined> {
  if (requestedBy === undefined) return undefined;
  const [user, key, before, keyIds] = await Promise.all([
    store.users.find(requestedBy),
    requestedKey === undefined ? undefined : store.devKeys.byDigest(requestedKey),
    store.sessions.byContainer(id),
    store.credentials.keyIds(),
  ]);
  return { user, key, before, keyIds };
}

/**
 * The token that a start gives its container: a session of the user whose action it was, which ends with that user's key and session. Until the container is known to rest, every
 * start of the same definition for that user hands over the same one: what runs may have been started before a crash or a failure, and
 * knows no other. Undefined where no user is behind it, or none any more. `mayStart` false: it gets none. It awaits only the store. `records`: read in
 * the transaction around it.
 */
export async function containerToken(
  { store, vault }: { store: Store; vault: Vault },
  container: Container,
  { mayStart = Promise.resolve(true), records }: { mayStart?: Promise<boolean>; records?: Promise<TokenRecords | undefined> } = {},
): Promise<string | undefined> {
  const { id, generation, requestedBy, requestedKey, requestedSession } = container;
  if (requestedBy === undefined) return undefined;
  // One transaction: no key is revoked, and no credential sealed anew, between the look and the write.
  return store.transaction(async () => {
    const { user, key, before = [], keyIds } = (await (records ?? readTokenRecords(store, container))) ?? {};
    if (!user || user.blockedOn !== undefined || !(await mayStart)) return undefined;
    if (requestedKey !== undefined && key?.userId !== requestedBy) return undefined;
    // Without the key the container still starts; only that a repeated start gives it a second token.
    for (const { digest: known, userId, keyDigest, start } of before) {
      const isSame = start?.generation === generation && userId === requestedBy && keyDigest === requestedKey;
      const sealed = isSame ? start.sealed : undefined;
      const token = sealed && (await unlessKeyMissing(async () => vault.open(sessionContext(known), sealed, "The container's session")));
      if (token !== undefined) return token;
    }
    const token = randomBytes(32).toString("base64url");
    const made = tokenDigest(token);
    const sealed = await unlessKeyMissing(() => vault.seal(sessionContext(made), token, keyIds));
    // What runs of an older definition is replaced.
    for (const session of before) if (session.start?.generation !== generation) await store.sessions.remove(session.digest);
    await store.sessions.insert({
      digest: made,
      userId: requestedBy,
      expiresOn: NEVER,
      keyDigest: requestedKey,
      parent: requestedSession,
      derivedDigest: derivedDigest(token),
      containerId: id,
      start: { generation, sealed },
    });
    return token;
  });
}

/** Forgets the sessions of containers that rest, now and whenever one comes to rest: the next start makes its own. What lies frozen keeps its, to go on with. */
export async function endSessionsAtRest(store: Store, lifecycle: Pick<Lifecycle, "watch">, log: Pick<Log, "error">): Promise<() => void> {
  const isAtRest = ({ state, pausedOn }: Pick<Container, "state" | "pausedOn">) =>
    state === "USER_STOPPED" || (state === "SYSTEM_STOPPED" && pausedOn === undefined);
  const end = (id: string) =>
    // As it is now: a start may have made a session meanwhile.
    store.transaction(async () => {
      const container = await store.containers.find(id);
      if (container && isAtRest(container)) await store.sessions.removeByContainer(id);
    });
  for (const { containerId = "" } of await store.sessions.ofContainers()) await end(containerId);
  return lifecycle.watch((change) => {
    const container = "container" in change ? (change.replica ?? change.container) : undefined;
    if (!container || !isAtRest(container)) return;
    end(container.id).catch((err: unknown) => {
      // A store that cannot be written: the state alone makes the token invalid.
      if (!(err instanceof Fault)) log.error({ err, container: container.id }, "unexpected error");
    });
  });
}

/** Ends a session, those that came from it, and the tokens of what was started with any of them. An unknown one is success. */
export async function endSession(store: Store, digest: string): Promise<void> {
  await store.transaction(async () => {
    for (const child of await store.sessions.byParent(digest)) await endSession(store, child.digest);
    await store.containers.endStartsOfSession(digest);
    await store.sessions.remove(digest);
  });
}

/** Ends a developer key with all sessions that it opened and the tokens of what was started with it. */
export async function endKey(store: Store, { digest, userId }: { digest: string; userId: string }): Promise<void> {
  await store.transaction(async () => {
    await store.containers.endStartsOfKey(digest);
    // Which of the user's keys these were started with is not known.
    await store.sessions.removeWithoutKey(userId);
    await store.devKeys.remove(digest);
  });
}
