import { randomBytes } from "node:crypto";
import type { Clock } from "../../lib/clock.ts";
import type { ContainerLease, Leases } from "../containers/lease.ts";
import type { Caller, ContainerView } from "../contract.ts";

/** The use of containers by connections that proxies carry, so that idle stops and drains wait for it. */
export type ContainerUses = {
  /** A request was sent to the container: it counts for `activeMs`. Returns the id that ends it sooner, if the proxy reports the ends of its requests. */
  begin(view: ContainerView, proxy: string): string | undefined;
  /** The request of that id is over. */
  end(lease: string): void;
  /** So many connections of the proxy to the container are open, and so many requests came since its last report. */
  report(view: ContainerView, proxy: string, counts: { open: number; requests: number }): void;
  /** The container has reported that it is busy. */
  reportBusy(view: ContainerView, proxy: string, seconds: number): void;
  close(): void;
};

type UsesDeps = {
  leases: Leases;
  clock: Clock;
  /** How long a decision counts, if no report comes. */
  activeMs: number;
  /** How long a request counts whose end is reported; undefined: no ends are reported. */
  openMs?: number | undefined;
};

/**
 * `until`, and `begunOn` of the last decision: on the clock's monotonic scale. `openIds`: of requests whose end was not reported yet, with the end of their
 * time. `isReported`: the proxy reports its open requests.
 */
type ProxyUse = { lease: ContainerLease; until: number; begunOn: number; openIds: Map<string, number>; isReported: boolean };

const SWEEP_MS = 1_000;
/** Proxies count a request when they have the decision, and report each second: after so long, a report has it. */
const UNREPORTED_MS = 2_500;
/** Containers and proxies, and open requests of them: beyond it, the oldest ends. */
const MAX_USES = 10_000;
const MAX_OPEN_IDS = 65_536;

/** One lease for each proxy and container, however many requests the proxy sends there. */
export function createContainerUses({ leases, clock, activeMs, openMs }: UsesDeps): ContainerUses {
  const uses = new Map<string, ProxyUse>();
  const openIds = new Map<string, string>();
  let cancelSweep: (() => void) | undefined;

  const useOf = (view: ContainerView, proxy: string): ProxyUse => {
    const key = keyOf(view, proxy);
    const existing = uses.get(key);
    if (existing !== undefined) return existing;
    const [oldest] = uses;
    if (oldest !== undefined && uses.size >= MAX_USES) drop(...oldest);
    const lease = leases.open({ view, caller: callerOf(proxy), kind: "http", isProbe: false, until: undefined, request: NEVER_LEAVES });
    const use: ProxyUse = { lease, until: 0, begunOn: -Infinity, openIds: new Map(), isReported: false };
    uses.set(key, use);
    cancelSweep ??= clock.after(SWEEP_MS, sweep);
    return use;
  };

  const drop = (key: string, use: ProxyUse) => {
    uses.delete(key);
    for (const id of use.openIds.keys()) openIds.delete(id);
    use.lease.release();
  };

  const forget = (id: string) => {
    const key = openIds.get(id);
    if (key === undefined) return;
    openIds.delete(id);
    uses.get(key)?.openIds.delete(id);
  };

  const sweep = () => {
    const now = clock.monotonic();
    for (const [key, use] of uses) {
      for (const [id, until] of use.openIds) if (now >= until) forget(id);
      if (now >= use.until && use.openIds.size === 0) drop(key, use);
    }
    cancelSweep = uses.size === 0 ? undefined : clock.after(SWEEP_MS, sweep);
  };

  return {
    begin: (view, proxy) => {
      const use = useOf(view, proxy);
      const now = clock.monotonic();
      use.begunOn = now;
      if (openMs === undefined || use.isReported) {
        use.until = Math.max(use.until, now + activeMs);
        return undefined;
      }
      const [oldest] = openIds.keys();
      if (oldest !== undefined && openIds.size >= MAX_OPEN_IDS) forget(oldest);
      // Only the proxy knows it: no client can end the use of others.
      const id = randomBytes(16).toString("base64url");
      openIds.set(id, keyOf(view, proxy));
      use.openIds.set(id, now + openMs);
      return id;
    },
    end: forget,
    report: (view, proxy, { open, requests }) => {
      const existing = uses.get(keyOf(view, proxy));
      if (existing === undefined && open + requests === 0) return;
      const use = existing ?? useOf(view, proxy);
      use.isReported = true;
      // No line will come for them.
      for (const id of use.openIds.keys()) forget(id);
      use.until = open === 0 ? use.begunOn + UNREPORTED_MS : clock.monotonic() + activeMs;
      if (requests > 0) use.lease.countBytes(0, "client");
    },
    reportBusy: (view, proxy, seconds) => useOf(view, proxy).lease.reportBusy(seconds),
    close: () => {
      cancelSweep?.();
      for (const [key, use] of uses) drop(key, use);
    },
  };
}

function keyOf({ id }: ContainerView, proxy: string): string {
  return `${id} ${proxy}`;
}

const NEVER_LEAVES = { signal: new AbortController().signal };

/** In place of a user: a proxy's connections have several, and a sign-out of one of them does not end the others. */
function callerOf(proxy: string): Caller {
  return { token: "", userId: "", login: `proxy ${proxy}`, admin: false };
}
