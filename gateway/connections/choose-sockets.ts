import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import { testFfiSockets } from "./ffi-self-test.ts";
import { FfiSockets } from "./ffi-sockets.ts";
import { type Libc, loadLibc } from "./libc.ts";
import type { OpenSocketLayer } from "./socket-layer.ts";

/** `auto` is `node` at present. */
export const SOCKET_SETTINGS = ["auto", "ffi", "node"] as const;
export type SocketSetting = (typeof SOCKET_SETTINGS)[number];

/** How a process reads and writes plain sockets. TLS is always Node's. */
export type SocketChoice = {
  name: "ffi" | "node";
  /** Undefined: as TLS. */
  plain: OpenSocketLayer | undefined;
};

const NODE: SocketChoice = { name: "node", plain: undefined };

/** Tests `ffi` before it is used. Where it does not work, it logs why, and Node's sockets are used. */
export async function chooseSockets(setting: SocketSetting, { clock, log }: { clock: Clock; log: Log }): Promise<SocketChoice> {
  if (setting !== "ffi") return NODE;
  const tested = await testFfi(clock);
  if ("problem" in tested) {
    log.warn({ reason: tested.problem }, "BERTH_SOCKETS=ffi does not work here: Node's sockets are used");
    return NODE;
  }
  return { name: "ffi", plain: (events, options) => new FfiSockets(tested.libc, events, options) };
}

/** Whether `ffi` works in this process, or why not. */
export async function testFfi(clock: Clock): Promise<{ libc: Libc } | { problem: string }> {
  try {
    const libc = loadLibc();
    await testFfiSockets(libc, clock);
    return { libc };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}
