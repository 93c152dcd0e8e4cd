import type { Clock } from "../../../lib/clock.ts";
import type { TagPush } from "../../api/registry-usage.ts";

/** As the registry proxy sees them go by; `reference` is a tag or a digest. */
type ObservedPush = { repository: string; reference: string; by?: string; deleted?: true };

export type RecentPushes = {
  record(seen: ObservedPush): void;
  of(repository: string, reference: string): TagPush | undefined;
};

const MOST = 5_000;

/** The last pushes that this process passed on, in memory alone: a registry itself does not keep who pushed. With more, the oldest is forgotten. */
export function createRecentPushes({ clock, most = MOST }: { clock: Clock; most?: number }): RecentPushes {
  const pushes = new Map<string, TagPush>();
  return {
    record: ({ repository, reference, by, deleted }) => {
      const key = `${repository} ${reference}`;
      // Last in the map is what was pushed last.
      pushes.delete(key);
      if (deleted) return;
      pushes.set(key, { at: clock.now(), by });
      const [oldest] = pushes.keys();
      if (pushes.size > most && oldest !== undefined) pushes.delete(oldest);
    },
    of: (repository, reference) => pushes.get(`${repository} ${reference}`),
  };
}
