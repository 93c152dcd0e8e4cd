import { Fault } from "../../lib/fault.ts";
import type { Chain } from "./check.ts";
import { openEchoSocket } from "./echo-socket.ts";
import type { Finding } from "./finding.ts";

const TEXT = "berth doctor";

/** A WebSocket at the public address, up to `CONNECTED` and there and back. */
export async function checkWebSocket(chain: Chain, signal: AbortSignal): Promise<Finding> {
  if (chain.found.echo === undefined) return { unlooked: "there is no container to speak with" };
  const socket = await openEchoSocket(chain, chain.found.echo, signal);
  try {
    if ((await socket.echo(TEXT)) === TEXT) return { says: "CONNECTED, and a message there and back" };
    throw new Fault("CHAIN_BROKEN", "What comes back on the WebSocket is not what was sent.");
  } finally {
    socket.close();
  }
}
