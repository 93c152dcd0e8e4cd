import { randomBytes } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import type { ContainerView, Directory, Identity } from "../contract.ts";

/** `all`: every decision is outdated. Else those about `ids`. `source` and `at` continue the list. */
type ChangeList = { source: string; at: number; all: boolean; ids: string[] };

export type DecisionChanges = {
  /** From now on, changes of the container are listed. */
  follow(view: Pick<ContainerView, "id">): void;
  /** Resolves with the changes since a list, at once or when there is one; after `POLL_MS` with none. */
  since(source: string | undefined, at: number, signal: AbortSignal): Promise<ChangeList>;
  close(): void;
};

/** A proxy asks again after this time, so that it notices a lost connection. */
const POLL_MS = 20_000;
const MAX_KEPT = 1_024;
const MAX_FOLLOWED = 10_000;
/** Questions of proxies that wait at a time. */
const MAX_WAITING = 256;

/** What has changed, for proxies that keep decisions for a moment. */
export function createRecentChanges({ directory, identity, clock }: { directory: Directory; identity: Identity; clock: Clock }): DecisionChanges {
  const source = randomBytes(9).toString("base64url");
  /** The id of the container that changed; undefined: all decisions. */
  const changes: (string | undefined)[] = [];
  let at = 0;
  const followed = new Map<string, () => void>();
  const waiting = new Set<() => void>();

  const add = (id: string | undefined) => {
    changes.push(id);
    at++;
    if (changes.length > MAX_KEPT) changes.shift();
    for (const wakeUp of waiting) wakeUp();
  };
  const unwatch = identity.watchSignOuts(() => add(undefined));

  const listSince = (from: string | undefined, since: number): ChangeList => {
    const count = at - since;
    const isKnown = from === source && count >= 0 && count <= changes.length;
    const recent = isKnown ? changes.slice(changes.length - count) : [undefined];
    const all = recent.includes(undefined);
    return { source, at, all, ids: all ? [] : [...new Set(recent.filter((id) => id !== undefined))] };
  };

  return {
    follow: ({ id }) => {
      if (followed.has(id)) return;
      const [oldest] = followed;
      if (oldest !== undefined && followed.size >= MAX_FOLLOWED) {
        oldest[1]();
        followed.delete(oldest[0]);
        add(oldest[0]);
      }
      followed.set(
        id,
        directory.watch(id, () => add(id)),
      );
    },
    since: (from, since, signal) => {
      const now = listSince(from, since);
      if (now.all || now.ids.length > 0 || waiting.size >= MAX_WAITING) return Promise.resolve(now);
      return new Promise((resolve) => {
        const settle = () => {
          cancel();
          waiting.delete(settle);
          signal.removeEventListener("abort", settle);
          resolve(listSince(from, since));
        };
        const cancel = clock.after(POLL_MS, settle);
        waiting.add(settle);
        signal.addEventListener("abort", settle, { once: true });
      });
    },
    close: () => {
      unwatch();
      for (const stop of followed.values()) stop();
      for (const settle of waiting) settle();
    },
  };
}
