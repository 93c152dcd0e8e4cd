import type { Forwarder } from "../../gateway/forward/engine.ts";
import { ID, openStand, PATH, WS_PATH } from "../gateway/stand.ts";
import type { Scope } from "./probe-row.ts";
import { openRawContainer } from "./raw-container.ts";
import type { Probed, Row } from "./row.ts";

/** A gateway with one of its engines, in front of a container that is awake. */
export async function openBerth(scope: Scope, forwarder: Forwarder, limits: Row["limits"]): Promise<Probed> {
  const container = await openRawContainer(scope);
  const stand = await openStand(scope, { forwarder, limits: { lingerMs: 100, ...limits } });
  stand.set(ID, { kind: "awake", address: container.address });
  return {
    port: stand.port,
    container,
    at: (path) => PATH + path,
    connected: (path) => WS_PATH + path,
    lines: ["Authorization: token"],
    lastUse: () => stand.uses.get(ID)?.lastActive ?? 0,
  };
}
