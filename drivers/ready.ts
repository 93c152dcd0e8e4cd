import { connect } from "node:net";
import type { Clock } from "../lib/clock.ts";
import type { Address } from "./driver.ts";

/** How often a connect is tried; what a woken request waits for in vain is half of this on average. After 1 s it grows to a fortieth of the time passed: hundreds that never listen cost little. */
const TRY_EVERY_MS = 25;
const LONGEST_TRY_MS = 500;
/** A connect that is neither accepted nor refused by then (an address that nobody holds yet) is given up and tried anew. */
const CONNECT_MS = 1_000;
/** A host's port proxy accepts before the container does, and hangs up when it cannot get through. */
const HELD = { times: 3, ms: 100 };

/**
 * `accepted`: the address is the container's own, so an accepted connect is proof. `held`: something in between accepts by
 * itself, so the connection must stay open for 100 ms, three times in a row.
 */
export type Proof = "accepted" | "held";

/** Resolves once the address takes connections; tries until the signal aborts, then rejects with its reason. */
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

/** True where a connect was accepted and was still open after `holdMs`. */
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
      // Where nobody listens, the kernel may give a loopback socket the very port that it connects to: it then talks to itself.
      if (socket.localPort === address.port && socket.localAddress === socket.remoteAddress) return settle(false);
      if (holdMs === 0) return settle(true);
      cancel();
      cancel = clock.after(holdMs, () => settle(true));
      socket.resume();
    });
  });
}
