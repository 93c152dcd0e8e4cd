import { randomBytes } from "node:crypto";
import { aboutSession, type Vault } from "../packages/credentials/open-vault.ts";
import { Fault } from "../../lib/fault.ts";
import type { ContainerState } from "../model/states.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { Container } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { derivedDigest, tokenDigest } from "./tokens.ts";

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

/**
 * The token that a start gives its container: a session of the user whose action it was, which ends with that user's key and session. Until the container is known to rest, every
 * start of the same definition for that user hands over the same one: what runs may have been started before a crash or a failure, and
 * knows no other. Undefined where no user is behind it, or none any more.
 */
export function containerToken({ store, vault }: { store: Store; vault: Vault }, container: Container): string | undefined {
  const { id, generation, wishedBy, wishedKey, wishedSession } = container;
  if (wishedBy === undefined || !store.users.find(wishedBy)) return undefined;
  if (wishedKey !== undefined && store.devKeys.byDigest(wishedKey)?.userId !== wishedBy) return undefined;
  const before = store.sessions.byContainer(id);
  for (const { digest: known, userId, keyDigest, start } of before) {
    const isSame = start?.generation === generation && userId === wishedBy && keyDigest === wishedKey;
    const sealed = isSame ? start.sealed : undefined;
    const token = sealed && orUndefined(() => vault.open(aboutSession(known), sealed, "The container's session"));
    if (token !== undefined) return token;
  }
  const token = randomBytes(32).toString("base64url");
  const made = tokenDigest(token);
  const sealed = orUndefined(() => vault.seal(aboutSession(made), token));
  store.transaction(() => {
    // What runs of an older definition is replaced.
    for (const session of before) if (session.start?.generation !== generation) store.sessions.remove(session.digest);
    store.sessions.insert({
      digest: made,
      userId: wishedBy,
      expiresOn: NEVER,
      keyDigest: wishedKey,
      parent: wishedSession,
      derivedDigest: derivedDigest(token),
      containerId: id,
      start: { generation, sealed },
    });
  });
  return token;
}

/** Forgets the sessions of containers that rest, now and whenever one comes to rest: the next start makes its own. What lies frozen keeps its, to go on with. */
export function endSessionsAtRest(store: Store, lifecycle: Pick<Lifecycle, "watch">): () => void {
  const end = ({ id, state, pausedOn }: Container) => {
    if (state === "USER_STOPPED" || (state === "SYSTEM_STOPPED" && pausedOn === undefined)) store.sessions.removeByContainer(id);
  };
  for (const { containerId = "" } of store.sessions.ofContainers()) {
    const container = store.containers.find(containerId);
    if (container) end(container);
  }
  return lifecycle.watch((change) => {
    try {
      if ("container" in change) end(change.container);
    } catch (error) {
      // A full disk must not block other listeners. The state alone makes the token invalid.
      if (!(error instanceof Fault)) throw error;
    }
  });
}

/** Without the key the container still starts; only that a repeated start gives it a second token. */
function orUndefined<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Fault && error.code === "CREDENTIALS_UNREADABLE") return undefined;
    throw error;
  }
}

/** Ends a session, those that came from it, and the tokens of what was started with any of them. An unknown one is success. */
export function endSession(store: Store, digest: string): void {
  store.transaction(() => {
    for (const child of store.sessions.byParent(digest)) endSession(store, child.digest);
    store.containers.endStartsOfSession(digest);
    store.sessions.remove(digest);
  });
}

/** Ends a developer key with all sessions that it opened and the tokens of what was started with it. */
export function endKey(store: Store, { digest, userId }: { digest: string; userId: string }): void {
  store.transaction(() => {
    store.containers.endStartsOfKey(digest);
    // Which of the user's keys these were started with is not known.
    store.sessions.removeWithoutKey(userId);
    store.devKeys.remove(digest);
  });
}
