import { connect } from "node:net";
import type { Clock } from "../lib/clock.ts";
import type { Address } from "./driver.ts";

/** A request that wakes a container waits half of this in vain on average. After 1 s it grows to a fortieth of the time passed: hundreds that never listen cost little. */
const TRY_EVERY_MS = 25;
const LONGEST_TRY_MS = 500;
/** A connect that is neither accepted nor refused by then (an address without a holder) is given up and tried again. */
const CONNECT_MS = 1_000;
/** A host's port proxy accepts before the container does, and closes if it cannot connect to it. */
const HELD = { times: 3, ms: 100 };

/**
 * `accepted`: the address is the container's own, so an accepted connection is proof. `held`: a proxy accepts in its place, so the connection must stay
 * open for 100 ms, three times in a row.
 */
export type Proof = "accepted" | "held";

/** Settles as the first of several tasks does, and then aborts the others: a start succeeds when its container is ready, or fails when it ends. */
export async function firstOf<T>(signal: AbortSignal, start: (own: AbortSignal) => Promise<T>[]): Promise<T> {
  const decided = new AbortController();
  try {
    return await Promise.race(start(AbortSignal.any([signal, decided.signal])));
  } finally {
    decided.abort(new Error("The start is decided."));
  }
}

/** Resolves when the address accepts connections; tries until the signal aborts, then rejects with its reason. */
export async function awaitReady(address: Address, proof: Proof, options: { clock: Clock; signal: AbortSignal }): Promise<void> {
  const { clock, signal } = options;
  const began = clock.monotonic();
  const needed = proof === "held" ? HELD.times : 1;
  for (let times = 0; ;) {
    signal.throwIfAborted();
    const holdMs = proof === "held" ? HELD.ms : 0;
    times = (await takesConnection(address, holdMs, clock, signal)) ? times + 1 : 0;
    if (times >= needed) return;
    if (times === 0) await clock.sleep(Math.min(LONGEST_TRY_MS, Math.max(TRY_EVERY_MS, (clock.monotonic() - began) / 40)), signal);
  }
}

/** True if a connection was accepted and was still open after `holdMs`. */
function takesConnection(address: Address, holdMs: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port });
    const settle = (taken: boolean) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      resolve(taken);
    };
    const onAbort = () => settle(false);
    let cancel = clock.after(CONNECT_MS, () => settle(false));
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("error", () => settle(false));
    socket.on("close", () => settle(false));
    socket.on("end", () => settle(false));
    socket.on("connect", () => {
      // If nothing listens, the kernel may give a loopback socket the port that it connects to: the socket is then connected to itself.
      if (socket.localPort === address.port && socket.localAddress === socket.remoteAddress) return settle(false);
      if (holdMs === 0) return settle(true);
      cancel();
      cancel = clock.after(holdMs, () => settle(true));
      socket.resume();
    });
  });
}
