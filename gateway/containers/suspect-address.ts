import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { ContainerView, Directory } from "../contract.ts";
import { type ForwardTarget, keyOfTarget } from "../decision.ts";

/** `key`: as `keyOfTarget` creates it. */
export function hasAddress({ availability }: ContainerView, key: string): boolean {
  return availability.kind === "awake" && availability.addresses.some((address) => keyOfTarget(address) === key);
}

/** There is a better choice than the address that refused: another address, or a wait for the check of this one. */
export function isElsewhere({ availability }: ContainerView, refused: string): boolean {
  return availability.kind !== "awake" || availability.addresses.some((address) => keyOfTarget(address) !== refused);
}

/** The next view with a better choice than the address that refused; mostly of its check. Faults: CONTAINER_UNREACHABLE if none comes in time. */
export function betterView(
  deps: { directory: Directory; clock: Clock; suspectAddressMs: number },
  { id, name }: ContainerView,
  target: ForwardTarget,
  signal: AbortSignal,
): Promise<ContainerView> {
  const refused = keyOfTarget(target);
  const { directory, clock, suspectAddressMs } = deps;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      cancel();
      unwatch();
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(suspectAddressMs, () => settle(() => reject(refusedFault(name, target))));
    const unwatch = directory.watch(id, (view) => {
      if (view === undefined) settle(() => reject(new Fault("CONTAINER_NOT_FOUND", "The container was removed")));
      else if (isElsewhere(view, refused)) settle(() => resolve(view));
    });
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** The caller may not know where the container is, so only the cause has its address. */
function refusedFault(name: string, target: ForwardTarget): Fault {
  const where = "socketPath" in target ? "its socket" : `port ${target.port}`;
  const cause = new Error(`${keyOfTarget(target)} refused the connection`);
  return new Fault("CONTAINER_UNREACHABLE", `${name} refused the connection on ${where}`, { cause });
}
