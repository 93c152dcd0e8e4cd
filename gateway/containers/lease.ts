import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Lease } from "../decision.ts";
import type { ContainerView, Directory, StartTimes, Use } from "../directory.ts";
import type { Caller } from "../identity.ts";
import type { Found, Hold } from "./hold.ts";

export type Claim = {
  view: ContainerView;
  caller: Caller;
  /** An open HTTP request keeps its container in use; a WebSocket only by the bytes that pass. */
  kind: "http" | "websocket";
  /** When waiting for the container ends, on the clock's monotonic scale. */
  until: number;
  signal: AbortSignal;
};

/** `woken` is defined once the exchange had to wait for its container: how long each part of that start took. */
export type ContainerLease = Lease & { woken(): { start: StartTimes | undefined } | undefined };

export type Leases = { open(claim: Claim): ContainerLease };

/** Bytes are reported as activity this often; a shutdown time-out counts in minutes. */
const REPORT_EVERY_MS = 1_000;

type Tally = Use & { reportedAt: number };

/** Counts the open exchanges of each container and tells the directory. */
export function openLeases(parts: { directory: Directory; hold: Hold; clock: Clock; doubtMs: number }): Leases {
  const { directory, hold, clock, doubtMs } = parts;
  const tallies = new Map<string, Tally>();

  const report = (tally: Tally) => {
    tally.reportedAt = clock.monotonic();
    directory.used({ id: tally.id, open: tally.open, streams: tally.streams, lastActive: tally.lastActive });
  };

  const count = (id: string, by: 1 | -1, kind: Claim["kind"]): Tally => {
    const tally = tallies.get(id) ?? { id, open: 0, streams: 0, lastActive: 0, reportedAt: 0 };
    tally.streams += by;
    if (kind === "http") tally.open += by;
    tally.lastActive = clock.now();
    if (tally.streams === 0) tallies.delete(id);
    else tallies.set(id, tally);
    report(tally);
    return tally;
  };

  return {
    open: ({ view, caller, kind, until, signal }) => {
      const { id } = view;
      const tally = count(id, 1, kind);
      let released = false;
      let woken: { start: StartTimes | undefined } | undefined;

      const claim = async (from: ContainerView) => {
        const found: Found = await hold.wait({ view: from, caller, until, signal });
        if (found.held) woken = { start: found.start };
        return found.address;
      };

      return {
        target: () => claim(view),
        lost: async (target) => {
          const refused = "port" in target ? `${target.host}:${target.port}` : target.socketPath;
          const now = await directory.find(id, caller, signal);
          if (now === undefined) throw new Fault("CONTAINER_NOT_FOUND", "The container was removed");
          if (isElsewhere(now, refused)) return claim(now);
          const better = betterView(directory, clock, now, refused, doubtMs, signal);
          // It should be awake and is not: asking for it once more makes control look again.
          directory.wake(id, caller, signal).catch(() => undefined);
          return claim(await better);
        },
        bytes: () => {
          if (released) return;
          tally.lastActive = clock.now();
          if (clock.monotonic() - tally.reportedAt >= REPORT_EVERY_MS) report(tally);
        },
        release: () => {
          if (released) return;
          released = true;
          count(id, -1, kind);
        },
        woken: () => woken,
      };
    },
  };
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
