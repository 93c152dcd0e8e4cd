import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { NetworkConnectOptions } from "dockerode";
import type { Log } from "../../lib/log.ts";
import type { Engine } from "./engine.ts";
import { answered } from "./faults.ts";

/** Puts the container that berth itself runs in on the network; only so do the names of services resolve. False where that failed, which is logged. */
export async function joinNetwork(engine: Engine, network: string, log: Log, signal: AbortSignal, aliases: readonly string[] = []): Promise<boolean> {
  const self = ownContainer();
  try {
    await connectToNetwork(engine, network, self, aliases, signal);
    log.info({ network, container: self }, "Joined the containers' network.");
    return true;
  } catch (error) {
    signal.throwIfAborted();
    log.warn(
      { network, container: self, err: error },
      "Could not join the containers' network; if names do not resolve, connect berth's container to it.",
    );
    return false;
  }
}

/** Puts a container on a network, where those there find it by its aliases too; one that is there already stays. */
export async function connectToNetwork(
  engine: Engine,
  network: string,
  container: string,
  aliases: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  try {
    const options = { Container: container, EndpointConfig: { Aliases: [...aliases] } };
    await engine.call({ doing: `Connecting ${container} to the network ${network}`, signal }, (docker, abortSignal) =>
      docker.getNetwork(network).connect({ ...options, abortSignal } as NetworkConnectOptions),
    );
  } catch (error) {
    // 403 and "already exists": it is there already, by hand or by an earlier start.
    if (!answered(error, 403) && !/already exists/.test(String(error))) throw error;
  }
}

/** The engine mounts three files from the container's own folder; the host name may have been set by hand. */
export function ownContainer(): string {
  try {
    return /\/containers\/([0-9a-f]{64})\//.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1] ?? hostname();
  } catch {
    return hostname();
  }
}
