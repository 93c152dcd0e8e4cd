import { makeCertificate } from "../fixtures/certificates.ts";
import type { SocketKind } from "../fixtures/connections.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import type { EngineName } from "../../gateway/connections/engine.ts";
import type { TlsKeys } from "../../gateway/tls-keys.ts";
import { ID, openStand, PATH, WS_PATH } from "../gateway/stand.ts";
import type { Scope } from "./probe-row.ts";
import { openRawContainer } from "./raw-container.ts";
import type { Probed, CorrectnessRow } from "./row.ts";

export type How = { forwarder: EngineName; sockets?: SocketKind; tls?: TlsKeys };

/** A gateway with one of its engines, in front of a container that is awake. */
export async function openBerth(scope: Scope, how: How, limits: CorrectnessRow["limits"]): Promise<Probed> {
  const container = await openRawContainer(scope);
  const stand = await openStand(scope, { ...how, limits: { lingeringCloseMs: 100, ...limits } });
  stand.set(ID, { kind: "awake", address: container.address });
  return {
    port: stand.port,
    secured: how.tls !== undefined,
    container,
    at: (path) => PATH + path,
    connected: (path) => WS_PATH + path,
    lines: ["Authorization: token"],
    lastUse: () => stand.uses.get(ID)?.lastActive ?? 0,
  };
}

/** A certificate that stays as it is. */
export function ownKeys(scope: Scope): TlsKeys {
  const pair = makeCertificate(tempFolder(scope), "edge");
  return { current: () => pair, onChange: () => () => undefined, reload: () => undefined, close: () => undefined };
}
