import type { Address, Observed } from "../../drivers/driver.ts";
import type { Clock } from "../../lib/clock.ts";
import type { OwnedAddress } from "../model/entities.ts";

/** An address as it is stored. */
export function ownedAddress([address]: readonly Address[], instance: string | undefined): OwnedAddress | undefined {
  if (address === undefined) return undefined;
  return { host: address.host, port: address.port, ...(instance === undefined ? {} : { instance }) };
}

/** It is the same instance at the same address. What either side does not report is taken to be the same. */
export function isAt({ addresses, instance }: Pick<Observed, "addresses" | "instance">, owned: OwnedAddress): boolean {
  return addresses.some((one) => sameAddress(one, owned)) && (instance === undefined || owned.instance === undefined || instance === owned.instance);
}

/** For messages: `10.0.0.1 port 80 and 10.0.0.2 port 80`. */
export function describeAddresses(addresses: readonly Address[]): string {
  return addresses.map(({ host, port }) => `${host} port ${port}`).join(" and ");
}

export function sameAddress(one: Address | undefined, other: Address | undefined): boolean {
  return one?.host === other?.host && one?.port === other?.port;
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
