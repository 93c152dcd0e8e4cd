import type { Clock } from "../lib/clock.ts";
import { maskedPath } from "../lib/masked-path.ts";
import type { ExchangeListener } from "./access-record.ts";
import { MOST_RECENT, type RecentRequest } from "./contract.ts";

export type RecentRequests = {
  write: ExchangeListener;
  /** The last finished requests of a container, the newest first. */
  of(id: string): RecentRequest[];
};

/** Those that were used last. With the slots of `MOST_RECENT` requests each, all of them take about 4 MB, and at most 20 MB. */
const MOST_CONTAINERS = 100;
const LONGEST_TARGET = 1_024;
const LONGEST_PATH = 300;
const LONGEST_LOGIN = 100;

type Slot = { overAt: number; method: string; target: string; status: number; ms: number; login: string };
type Ring = { slots: Slot[]; next: number };

/** The last finished requests of each container, in memory only. A request writes a slot that exists already; text is cut and masked when it is read. */
export function createRecentRequests(clock: Clock): RecentRequests {
  /** The least recently used first. */
  const rings = new Map<string, Ring>();
  let last: { id: string; ring: Ring } | undefined;

  const ringOf = (id: string): Ring => {
    if (last?.id === id) return last.ring;
    const ring = rings.get(id) ?? { slots: [], next: 0 };
    rings.delete(id);
    rings.set(id, ring);
    const [oldest] = rings.keys();
    if (rings.size > MOST_CONTAINERS && oldest !== undefined) rings.delete(oldest);
    last = { id, ring };
    return ring;
  };

  return {
    write: ({ labels, head, status, startedAt, overAt }) => {
      if (labels.answers === undefined) return;
      const ring = ringOf(labels.answers.id);
      const target = head?.target ?? "";
      const slot = (ring.slots[ring.next] ??= { overAt: 0, method: "", target: "", status: 0, ms: 0, login: "" });
      ring.next = (ring.next + 1) % MOST_RECENT;
      slot.overAt = overAt;
      slot.method = head?.method ?? "TCP";
      slot.target = target.length > LONGEST_TARGET ? beginningOf(target) : target;
      slot.status = status;
      slot.ms = overAt - startedAt;
      slot.login = labels.login ?? "";
    },
    of: (id) => {
      const ring = rings.get(id);
      if (ring === undefined) return [];
      const offset = clock.now() - clock.monotonic();
      return [...ring.slots.slice(ring.next), ...ring.slots.slice(0, ring.next)]
        .toReversed()
        .map(({ overAt, method, target, status, ms, login }) => ({
          at: Math.round(offset + overAt),
          method: method.slice(0, LONGEST_LOGIN),
          path: maskedPath(target.split("?", 1)[0] ?? "", { container: true, published: false }).slice(0, LONGEST_PATH),
          status,
          ms: Math.round(ms * 10) / 10,
          login: login.slice(0, LONGEST_LOGIN),
        }));
    },
  };
}

/** A copy: V8 keeps the whole of a text for as long as a slice of it. */
function beginningOf(target: string): string {
  return Buffer.from(target.slice(0, LONGEST_TARGET), "latin1").toString("latin1");
}
