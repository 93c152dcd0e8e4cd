import { Fault } from "../../lib/fault.ts";
import { serviceName } from "../model/names.ts";
import type { Container } from "../model/entities.ts";
import { drive } from "./call-driver.ts";
import type { ContainerPatch } from "./moves.ts";
import type { Rooms } from "./rooms.ts";

/** What its row says once an adopted instance is gone: from then on it is berth's own, under a name of its own, which nobody else has had. */
export function released({ environment }: Pick<Rooms, "environment">, { adopted, name, id }: Container): ContainerPatch {
  return adopted === undefined ? {} : { adopted: undefined, service: serviceName(environment, name, id) };
}

/** Ends what is left of an adopted instance. Faults: ENGINE_UNREACHABLE, ENGINE_FAILED. */
export async function release(rooms: Rooms, row: Container, signal: AbortSignal): Promise<Container | undefined> {
  const { clock, limits, driver, store } = rooms;
  const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not end ${row.service} in time.`);
  await drive({ clock, ms: limits.statusMs, overdue, signal }, (call) => driver.destroy(row.service, { signal: call }));
  return store.containers.update(row.id, released(rooms, row));
}
