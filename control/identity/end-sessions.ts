import type { Store } from "../store/open-store.ts";

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
