import { connect } from "node:net";
import type { Clock } from "../../lib/clock.ts";

const CONNECT_MS = 2_000;
const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 1_000;

/**
 * Resolves once a connection to the address was accepted: a Datagrok server says that a container has started before its application listens, up to 90 s
 * before. Tries until then; rejects with the signal's reason.
 */
export async function accepts(address: { host: string; port: number }, signal: AbortSignal, clock: Clock): Promise<void> {
  for (let delay = FIRST_DELAY_MS; !(await isAccepted(address, signal, clock)); delay = Math.min(LONGEST_DELAY_MS, delay * 2))
    await clock.sleep(delay, signal);
}

function isAccepted(address: { host: string; port: number }, signal: AbortSignal, clock: Clock): Promise<boolean> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connect(address);
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(CONNECT_MS, () => settle(() => resolve(false)));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", () => settle(() => resolve(false)));
    socket.once("connect", () => settle(() => resolve(true)));
  });
}
