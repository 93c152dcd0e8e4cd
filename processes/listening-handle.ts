import { lookup } from "node:dns/promises";
import net from "node:net";
import { isIP } from "node:net";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";

/**
 * A bound socket on which this process accepts no connections. The worker processes that get it share one accept queue, so
 * killing a worker resets no connection that waits in it.
 */
export type ListeningHandle = { fd: number; getsockname(out: { port?: number }): number; close(): void };

/** What `node:cluster` itself binds with; it has no public name. `test/processes/serve.test.ts` notices when it moves. */
const { _createServerHandle: createServerHandle } = net as unknown as {
  _createServerHandle(host: string, port: number, family: 4 | 6): ListeningHandle | number;
};

/** The port of a socket that is bound. */
export function portOf(handle: ListeningHandle): number {
  const bound: { port?: number } = {};
  handle.getsockname(bound);
  return bound.port ?? 0;
}

/** How long a predecessor that was just killed may take to let go of the port. */
const MAX_WAIT_MS = 3_000;
const RETRY_MS = 50;

/** Faults: ADDRESS_IN_USE. Port 0 takes a free one. */
export async function openListeningHandle(at: { host: string; port: number }, clock: Clock): Promise<{ handle: ListeningHandle; port: number }> {
  const { address, family } = await lookup(at.host).catch((cause: unknown) => {
    throw new Fault("SETTINGS_INVALID", `The host "${at.host}" to listen on cannot be resolved.`, { cause });
  });
  const giveUpAt = clock.monotonic() + MAX_WAIT_MS;
  for (;;) {
    const handle = createServerHandle(address, at.port, family === 6 ? 6 : 4);
    const bound: { port?: number } = {};
    // A bind that failed may be reported only later, and listening would then take a random port: ask which one it got.
    if (typeof handle !== "number") {
      const status = handle.getsockname(bound);
      if (status === 0 && bound.port !== undefined && (at.port === 0 || bound.port === at.port)) return { handle, port: bound.port };
      handle.close();
    }
    if (clock.monotonic() > giveUpAt) {
      throw new Fault(
        "ADDRESS_IN_USE",
        `Cannot listen on ${at.host} port ${at.port}: it is in use, or not an address of this machine, or not permitted.`,
      );
    }
    await clock.sleep(RETRY_MS);
  }
}

/** Whether only this machine reaches a listener on this host, a name or an IP address without brackets. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
