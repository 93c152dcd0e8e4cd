import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Asked, Lease } from "../decision.ts";
import { keyOfTarget, type ContainerView, type Directory, type StartTimes, type Use } from "../directory.ts";
import type { Caller } from "../identity.ts";
import type { Found, Hold } from "./hold.ts";

export type Claim = {
  view: ContainerView;
  caller: Caller;
  /** An open HTTP request keeps its container in use; a WebSocket only by the bytes that pass. */
  kind: "http" | "websocket";
  /** When waiting for the container ends, on the clock's monotonic scale. */
  until: number;
  /** Whose signal it is that the caller is gone. */
  asked: Pick<Asked, "signal">;
};

/** `woken` is defined once the exchange had to wait for its container: how long each part of that start took. */
export type ContainerLease = Lease & { woken(): { start: StartTimes | undefined } | undefined };

export type Leases = { open(claim: Claim): ContainerLease };

/** Bytes are reported as activity this often; a shutdown time-out counts in minutes. */
const REPORT_EVERY_MS = 1_000;

type Tally = Use & { reportedAt: number };

/** Counts the exchanges that each container has open, and tells the directory. */
export function openLeases(parts: { directory: Directory; hold: Hold; clock: Clock; doubtMs: number }): Leases {
  const { directory, hold, clock, doubtMs } = parts;
  const tallies = new Map<string, Tally>();

  const report = (tally: Tally) => {
    tally.reportedAt = tally.lastActive;
    directory.used({ id: tally.id, open: tally.open, streams: tally.streams, lastActive: tally.lastActive });
  };

  const count = (id: string, by: { open: number; streams: number }): Tally => {
    const tally = tallies.get(id) ?? { id, open: 0, streams: 0, lastActive: 0, reportedAt: 0 };
    tally.open += by.open;
    tally.streams += by.streams;
    tally.lastActive = clock.now();
    if (tally.open === 0 && tally.streams === 0) tallies.delete(id);
    else tallies.set(id, tally);
    report(tally);
    return tally;
  };

  return {
    open: ({ view, caller, kind, until, asked }) => {
      const { id } = view;
      const open = kind === "http" ? 1 : 0;
      let released = false;
      let streams = isAwake(view) ? 1 : 0;
      let woken: { start: StartTimes | undefined } | undefined;
      let tally = count(id, { open, streams });

      /** What waits for a container does not use it: a stop that waited for those who wait for its end would never end. */
      const use = (now: 0 | 1) => {
        if (released || now === streams) return;
        tally = count(id, { open: 0, streams: now - streams });
        streams = now;
      };

      /** Made only where something is waited for: who has been released no longer waits. */
      let over: AbortController | undefined;
      const whileWanted = () => AbortSignal.any([asked.signal, (over ??= new AbortController()).signal]);

      const claim = async (from: ContainerView) => {
        use(isAwake(from) ? 1 : 0);
        const found: Found = await hold.wait({ view: from, caller, until, signal: whileWanted() });
        use(1);
        if (found.held) woken = { start: found.start };
        return found.address;
      };

      return {
        target: () => (view.standing.kind === "awake" ? view.standing.address : claim(view)),
        lost: async (target) => {
          const refused = keyOfTarget(target);
          const signal = whileWanted();
          const now = await directory.find(id, caller, signal);
          if (now === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed");
          if (isElsewhere(now, refused)) return claim(now);
          const better = betterView(directory, clock, now, refused, doubtMs, signal);
          // It should be awake and is not: asking for it once more makes control look again.
          directory.wake(id, caller, signal).catch(() => undefined);
          return claim(await better);
        },
        whenGone: (target, act) => {
          const dialled = keyOfTarget(target);
          return directory.watch(id, (now) => {
            if (now === undefined || isElsewhere(now, dialled)) act();
          });
        },
        bytes: () => {
          if (released) return;
          tally.lastActive = clock.now();
          if (Math.abs(tally.lastActive - tally.reportedAt) >= REPORT_EVERY_MS) report(tally);
        },
        release: () => {
          if (released) return;
          released = true;
          over?.abort();
          count(id, { open: -open, streams: -streams });
        },
        woken: () => woken,
      };
    },
  };
}

/** It may be sent to at once. */
function isAwake({ standing }: ContainerView): boolean {
  return standing.kind === "awake" || standing.kind === "portless";
}

function isElsewhere({ standing }: ContainerView, refused: string): boolean {
  return standing.kind !== "awake" || `${standing.address.host}:${standing.address.port}` !== refused;
}

function isDoubted({ standing }: ContainerView): boolean {
  return standing.kind === "awake" && standing.doubted === true;
}

/**
 * The next view that does not point at the address that refused, or the one after a doubt: that address was verified just now.
 * Faults: CONTAINER_UNREACHABLE where none comes in time.
 */
function betterView(
  directory: Directory,
  clock: Clock,
  before: ContainerView,
  refused: string,
  ms: number,
  signal: AbortSignal,
): Promise<ContainerView> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      cancel();
      unwatch();
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason as Error));
    const cancel = clock.after(ms, () =>
      settle(() => reject(new Fault("CONTAINER_UNREACHABLE", `${before.name} refused the connection at ${refused}`))),
    );
    let doubted = isDoubted(before);
    const unwatch = directory.watch(before.id, (view) => {
      if (view === undefined) settle(() => reject(new Fault("CONTAINER_NOT_FOUND", "The container was removed")));
      else if (isElsewhere(view, refused) || (doubted && !isDoubted(view))) settle(() => resolve(view));
      else doubted = isDoubted(view);
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
