import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { Fence } from "../store/database.ts";
import { openStore, type Store, type StoreOptions } from "../store/open-store.ts";

/** While the database is away, or has the schema of another version. */
const RETRY_MS = 2_000;

/** Refuses each write: this process does not lead. */
const STANDBY_FENCE: Fence = {
  statement: "SELECT 1",
  check: () => {
    throw new Fault("CONTROL_STANDBY", "This control process does not lead, so it changes nothing.");
  },
};

export type StandbyStore = {
  /** The store of the new leader, whose writes have `fence`. Faults: as `openStore`. */
  lead(fence: Fence): Promise<Store>;
  close(): Promise<void>;
};

/**
 * The store of a standby, opened before it leads: its connections are open, and its queries have run once. It writes nothing before `lead`. Where it cannot be
 * opened yet, `lead` opens it. `locked`: called once this process holds the lock of the data folder.
 */
export function openStandbyStore(options: Omit<StoreOptions, "fence" | "isStandby"> & { clock: Clock; log: Log; locked(): void }): StandbyStore {
  const { clock, log, locked, ...common } = options;
  const closing = new AbortController();
  const leading = new AbortController();
  const retrying = AbortSignal.any([closing.signal, leading.signal]);
  let fence = STANDBY_FENCE;
  const open = (isStandby: boolean) => openStore({ ...common, clock, log, isStandby, fence: () => fence });
  const openEarly = async (): Promise<Store | undefined> => {
    while (!retrying.aborted) {
      try {
        const store = await open(true);
        locked();
        // Once, so that they are compiled, and their plans known.
        await Promise.all([store.containers.atWork(), store.images.unready(), store.tombstones.open(), store.users.byLogin("")]);
        return store;
      } catch (err) {
        log.debug({ err }, "standby has not opened the store");
        await clock.sleep(RETRY_MS, retrying).catch(() => undefined);
      }
    }
    return undefined;
  };
  const early = openEarly();
  let led: Store | undefined;
  return {
    lead: async (own) => {
      fence = own;
      leading.abort();
      led = await early;
      if (led) await led.takeOver(clock.now());
      led ??= await open(false);
      return led;
    },
    close: async () => {
      closing.abort();
      const store = await early;
      if (store !== led) await store?.close();
    },
  };
}
