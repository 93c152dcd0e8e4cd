import type { Address, Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { OwnedAddress } from "../model/entities.ts";

type ReportedAddresses = Pick<Observed, "addresses" | "instance">;

/** The reported addresses as they are stored, each once. */
export function ownedAddresses(addresses: readonly Address[], instance: string | undefined): OwnedAddress[] {
  const owned: OwnedAddress[] = [];
  for (const { host, port } of addresses)
    if (!hasAddress(owned, { host, port })) owned.push({ host, port, ...(instance === undefined ? {} : { instance }) });
  return owned;
}

/** Those at which the same instance is still reported. What either side does not report is taken to be the same. */
export function stillReported({ addresses, instance }: ReportedAddresses, owned: readonly OwnedAddress[]): OwnedAddress[] {
  const isSame = (other: OwnedAddress["instance"]) => instance === undefined || other === undefined || instance === other;
  return owned.filter((one) => hasAddress(addresses, one) && isSame(one.instance));
}

/** `elsewhere`: it is at none of its stored addresses. `changed`: some of several came or went. Without a stored address it has no port. */
export function compareAddresses(reported: ReportedAddresses, owned: readonly OwnedAddress[]): "same" | "changed" | "elsewhere" {
  if (owned.length === 0) return "same";
  const remaining = stillReported(reported, owned).length;
  if (remaining === 0) return "elsewhere";
  return remaining === owned.length && remaining === ownedAddresses(reported.addresses, undefined).length ? "same" : "changed";
}

/** For messages: `10.0.0.1 port 80 and 10.0.0.2 port 80`. */
export function describeAddresses(addresses: readonly Address[]): string {
  return addresses.map(({ host, port }) => `${host} port ${port}`).join(" and ");
}

export function hasAddress(addresses: readonly Address[], { host, port }: Address): boolean {
  return addresses.some((one) => one.host === host && one.port === port);
}

/** How many ends of a container's instances were reported since this process began. */
export type EndCounts = {
  record(id: string): void;
  /** A response to a query from before this number changed may describe the time before the end. */
  count(id: string): number;
  forget(id: string): void;
};

export function createEndCounts(): EndCounts {
  const counts = new Map<string, number>();
  return {
    record: (id) => void counts.set(id, (counts.get(id) ?? 0) + 1),
    count: (id) => counts.get(id) ?? 0,
    forget: (id) => void counts.delete(id),
  };
}

/** An interrupted watch is mostly there again within a moment; an address that was in use is not given to another pod so soon. */
const GRACE_MS = 5_000;

/**
 * Whether stored addresses may be sent to. Where the orchestrator gives them to others without control's doing (`Driver.watchedAddresses`), they count only
 * while its events arrive, and after a break once a list has shown that they are what they were.
 */
export type WatchedAddresses = {
  current(): boolean;
  connected(): void;
  disconnected(): void;
  /** To be called before the list is requested; what it returns, once every row was held against it. */
  verifying(): () => void;
  close(): void;
};

/** `watched`: as `Driver.watchedAddresses`. `changed` is called whenever `current()` changes. */
export type WatchedAddressesDeps = { clock: Pick<Clock, "after">; watched: boolean; changed(): void };

export function openWatchedAddresses({ clock, watched, changed }: WatchedAddressesDeps): WatchedAddresses {
  let current = !watched;
  let isConnected = false;
  let breaks = 0;
  let cancel = () => {};
  return {
    current: () => current,
    connected: () => {
      isConnected = true;
      cancel();
    },
    disconnected: () => {
      if (!watched) return;
      isConnected = false;
      breaks++;
      cancel();
      cancel = clock.after(GRACE_MS, () => {
        if (!current) return;
        current = false;
        changed();
      });
    },
    verifying: () => {
      const then = breaks;
      const begun = isConnected;
      return () => {
        if (current || !begun || then !== breaks) return;
        current = true;
        changed();
      };
    },
    close: () => cancel(),
  };
}
