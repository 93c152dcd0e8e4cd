import { openStore } from "../control/store/open-store.ts";
import { configuredPostgres } from "../control/store/postgres/address.ts";
import type { StoppableProcess } from "./parent.ts";
import { bindEntrance, openControlListeners } from "./control-listeners.ts";
import { type LeadingControlOptions, openLeadingControl } from "./leading-control.ts";

/** The control process. `ended`: it stops by itself, and is to be started again. Faults: those of the store and the listeners; SETTINGS_INVALID. */
export async function runControl(options: LeadingControlOptions): Promise<StoppableProcess & { ended?: Promise<void> }> {
  const { settings, metrics, clock, log } = options;
  const postgres = configuredPostgres(settings.database);
  if (postgres) return (await import("./elected-control.ts")).runElectedControl(options, postgres);
  // First of all the store: its lock is what keeps a second berth out, and the sockets are ours only under it.
  const store = await openStore({ folder: settings.data, clock, metrics, log });
  const entranceAt = await bindEntrance(settings, clock, log);
  const leading = await openLeadingControl(options, store, undefined);
  const listeners = await openControlListeners({ ...options, entranceAt }, () => leading);
  await leading.start();
  return {
    close: async () => {
      // While their connections are open, so that clients learn why.
      await leading.closeShells();
      await listeners.close();
      await leading.stopActing();
      await leading.close();
    },
  };
}
