import type { Clock } from "../../../lib/clock.ts";
import type { Push } from "../../api/registry-usage.ts";

/** As the registry proxy sees them go by; `reference` is a tag or a digest. */
type Seen = { repository: string; reference: string; by?: string; deleted?: true };

export type Pushes = {
  saw(seen: Seen): void;
  of(repository: string, reference: string): Push | undefined;
};

const MOST = 5_000;

/** The last pushes that this process passed on, in memory alone: a registry itself does not keep who pushed. With more, the oldest is forgotten. */
export function rememberPushes({ clock, most = MOST }: { clock: Clock; most?: number }): Pushes {
  const pushes = new Map<string, Push>();
  return {
    saw: ({ repository, reference, by, deleted }) => {
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
