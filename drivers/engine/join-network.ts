import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { NetworkConnectOptions } from "dockerode";
import type { Log } from "../../log.ts";
import type { Engine } from "./engine.ts";
import { answered } from "./faults.ts";

/** Puts the container that berth itself runs in on the network; only so do the names of services resolve. */
export async function joinNetwork(engine: Engine, network: string, log: Log, signal: AbortSignal): Promise<void> {
  const self = ownContainer();
  try {
    await engine.call({ doing: `Joining the network ${network}`, signal }, (docker, abortSignal) =>
      docker.getNetwork(network).connect({ Container: self, abortSignal } as NetworkConnectOptions),
    );
    log.info({ network, container: self }, "Joined the containers' network.");
  } catch (error) {
    signal.throwIfAborted();
    // 403 and "already exists": it is there already, by hand or by an earlier start.
    if (answered(error, 403) || /already exists/.test(String(error))) return;
    log.warn(
      { network, container: self, err: error },
      "Could not join the containers' network; if names do not resolve, connect berth's container to it.",
    );
  }
}

/** The engine mounts three files from the container's own folder; the host name may have been set by hand. */
function ownContainer(): string {
  try {
    return /\/containers\/([0-9a-f]{64})\//.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1] ?? hostname();
  } catch {
    return hostname();
  }
}
