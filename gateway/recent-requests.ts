import type { Clock } from "../lib/clock.ts";
import { maskedPath } from "../lib/masked-path.ts";
import type { ExchangeListener, KeptRequest, RequestRing } from "./access-record.ts";
import { MOST_RECENT, type RecentRequest } from "./contract.ts";

export type RecentRequests = {
  write: ExchangeListener;
  /** The last finished requests of a container, the newest first. */
  of(id: string): RecentRequest[];
};

/** With the slots of `MOST_RECENT` requests each, all of them take about 4 MB, and at most 20 MB. */
const MOST_CONTAINERS = 100;
const LONGEST_TARGET = 1_024;
const LONGEST_PATH = 300;
const LONGEST_LOGIN = 100;

/**
 * The last finished requests of each container, in memory only. A request writes a slot that exists already; text is cut and masked when it is read.
 * Each container's counters hold its ring. Where more containers are in use than there are rings, those with one request each take rings from each other: the
 * search passes a ring that was used again ("second chance").
 */
export function createRecentRequests(clock: Clock): RecentRequests {
  const rings = new Map<string, RequestRing>();
  const all: RequestRing[] = [];
  let hand = 0;

  const ringOf = (id: string): RequestRing => rings.get(id) ?? (all.length < MOST_CONTAINERS ? createRing(id) : takeUnused(id));
  const createRing = (id: string): RequestRing => {
    const ring: RequestRing = { id, slots: [], written: 0, used: false };
    all.push(ring);
    rings.set(id, ring);
    return ring;
  };
  const takeUnused = (id: string): RequestRing => {
    for (;;) {
      const ring = all[hand] as RequestRing;
      hand = (hand + 1) % all.length;
      if (!ring.used) {
        rings.delete(ring.id);
        rings.set(id, ring);
        ring.id = id;
        ring.written = 0;
        return ring;
      }
      ring.used = false;
    }
  };

  return {
    write: ({ labels: { answers, login = "" }, head, status, startedAt, overAt }) => {
      if (answers === undefined) return;
      let ring = answers.recent;
      // It may have gone to another container since.
      if (ring === undefined || ring.id !== answers.id) answers.recent = ring = ringOf(answers.id);
      else ring.used = true;
      const target = head?.target ?? "";
      const slot = (ring.slots[ring.written++ % MOST_RECENT] ??= { overAt: 0, method: "", target: "", status: 0, ms: 0, login: "" });
      slot.overAt = overAt;
      slot.method = head?.method ?? "TCP";
      slot.target = target.length > LONGEST_TARGET ? beginningOf(target) : target;
      slot.status = status;
      slot.ms = overAt - startedAt;
      slot.login = login;
    },
    of: (id) => {
      const ring = rings.get(id);
      if (ring === undefined) return [];
      const offset = clock.now() - clock.monotonic();
      const { slots, written } = ring;
      return Array.from({ length: Math.min(written, MOST_RECENT) }, (_, back) => slots[(written - 1 - back) % MOST_RECENT] as KeptRequest).map(
        ({ overAt, method, target, status, ms, login }) => ({
          at: Math.round(offset + overAt),
          method: method.slice(0, LONGEST_LOGIN),
          path: maskedPath(target.split("?", 1)[0] ?? "", { container: true, published: false }).slice(0, LONGEST_PATH),
          status,
          ms: Math.round(ms * 10) / 10,
          login: login.slice(0, LONGEST_LOGIN),
        }),
      );
    },
  };
}

/** A copy: V8 keeps the whole of a text for as long as a slice of it. */
function beginningOf(target: string): string {
  return Buffer.from(target.slice(0, LONGEST_TARGET), "latin1").toString("latin1");
}
