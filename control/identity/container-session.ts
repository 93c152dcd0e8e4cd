import { randomBytes } from "node:crypto";
import { aboutSession, type Vault } from "../credentials/open-vault.ts";
import { Fault } from "../../fault.ts";
import type { ContainerState } from "../lifecycle/container-states.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { Container } from "../store/entities.ts";
import type { Store } from "../store/open-store.ts";
import { digest } from "./digest.ts";

/** Its end is that of the container, so it has none of its own. */
const NEVER = Number.MAX_SAFE_INTEGER;

/**
 * In these a container's token is known to nobody. In ERROR it may run all the same, and be found well again: its token is kept, but
 * does not count meanwhile.
 */
const DUMB: readonly ContainerState[] = ["PENDING_START", "USER_STOPPED", "SYSTEM_STOPPED", "ERROR"];

/** Whether the token of a container's session counts now; it follows from the container's state alone, so no stop can miss it. */
export function containerSpeaks(container: Container | undefined): boolean {
  return container !== undefined && !DUMB.includes(container.state);
}

/**
 * The token that a start gives its container: a session of the user whose action it was. A start that is asked for again, after a crash
 * perhaps, has the same one, for the container that runs by then knows no other. Undefined where no user is behind it.
 */
export function containerToken({ store, vault }: { store: Store; vault: Vault }, container: Container): string | undefined {
  const { id, generation, wishedOn, wishedBy } = container;
  if (wishedBy === undefined || !store.users.find(wishedBy)) return undefined;
  const before = store.sessions.byContainer(id);
  const own = before.filter((one) => one.userId === wishedBy && one.start?.generation === generation && one.start.wishedOn === wishedOn);
  for (const { digest: known, start } of own) {
    const sealed = start?.sealed;
    const token = sealed && orUndefined(() => vault.open(aboutSession(known), sealed, "The container's session"));
    if (token !== undefined) return token;
  }
  const token = randomBytes(32).toString("base64url");
  const known = digest(token);
  const sealed = orUndefined(() => vault.seal(aboutSession(known), token));
  store.transaction(() => {
    for (const session of before) if (!own.includes(session)) store.sessions.remove(session.digest);
    store.sessions.insert({
      digest: known,
      userId: wishedBy,
      expiresOn: NEVER,
      keyDigest: undefined,
      containerId: id,
      start: { generation, wishedOn, sealed },
    });
  });
  return token;
}

/** Forgets the sessions of containers that have come to rest: they count no more, and the next start makes its own. */
export function endAtRest(store: Store, lifecycle: Pick<Lifecycle, "watch">): () => void {
  return lifecycle.watch((change) => {
    if (!("container" in change)) return;
    const { id, state } = change.container;
    if (state !== "USER_STOPPED" && state !== "SYSTEM_STOPPED") return;
    try {
      store.sessions.removeByContainer(id);
    } catch (error) {
      // A full disk must not stop who else is told; the next start tries again.
      if (!(error instanceof Fault)) throw error;
    }
  });
}

/** Without the key the container still starts; only that a repeated start would give it a second token. */
function orUndefined<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Fault && error.code === "CREDENTIALS_UNREADABLE") return undefined;
    throw error;
  }
}
