import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { keepChild } from "./child.ts";
import { openListeningHandle } from "./listening-handle.ts";

/** How long the gateways may finish open exchanges, and control its own work, before they are ended by force. */
const CONTROL_GRACE_MS = 10_000;
/** What a gateway takes to end after its time for open exchanges is up. */
const END_MS = 1_000;

export type Served = {
  port: number;
  /** Makes the gateways read again what may have changed: certificates. */
  reload(): void;
  stop(): Promise<void>;
};

/**
 * One berth on one machine: a control process, and gateway processes that share the edge's accept queue. This process
 * touches no request and no row; it only keeps the others running, so that neither can stall the other.
 */
export async function serve(options: {
  script: string;
  env: NodeJS.ProcessEnv;
  host: string;
  port: number;
  workers: number;
  /** How long the gateways take at most to turn load balancers away, and then to end what is open. */
  drainMs: number;
  clock: Clock;
  log: Log;
}): Promise<Served> {
  const { script, env, clock, log, drainMs } = options;
  const { handle, port } = await openListeningHandle(options, clock);
  const control = keepChild({ role: "control", script, env, clock, log });
  // The gateways connect to control's sockets, which it makes once it holds the data folder's lock.
  const gateways = control.ready.then(() =>
    Array.from({ length: options.workers }, () => keepChild({ role: "gateway", script, env, handle, clock, log })),
  );
  const stop = async () => {
    const opened = await gateways.catch(() => []);
    const ended = Promise.all(opened.map((gateway) => gateway.stop(drainMs + END_MS)));
    // With ours open, who connects once the gateways take nobody any more would wait for them rather than be refused.
    handle.close();
    await ended;
    await control.stop(CONTROL_GRACE_MS);
  };
  try {
    await Promise.all((await gateways).map((gateway) => gateway.ready));
  } catch (fault) {
    await stop();
    throw fault;
  }
  const reload = () => void gateways.then((opened) => opened.forEach((gateway) => gateway.tell("SIGHUP")));
  return { port, reload, stop };
}
