import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import type { ContainerView, Directory } from "../directory.ts";
import type { Identity } from "../identity.ts";
import type { FeedLine, UseReport, WakeAsk, WhoAnswers, WhoAsk } from "../wire.ts";
import { controlAway, openAskControl } from "./ask-control.ts";
import { keepFeed } from "./keep-feed.ts";
import { knownCallers } from "./known-callers.ts";
import { knownContainers } from "./known-containers.ts";
import { useReports } from "./use-reports.ts";

export type Feed = {
  directory: Directory;
  identity: Identity;
  /** Resolves once every container is known, and when the feed is closed before that. */
  ready(): Promise<void>;
  close(): Promise<void>;
};

/** The gateway's side of `gateway/wire.ts`: goes on answering from what it knows while control is away. */
export function openFeed(parts: { socketPath: string; clock: Clock; log: Log }): Feed {
  const { clock, log } = parts;
  const control = openAskControl(parts);
  const containers = knownContainers();
  const closed = new AbortController();
  const known = Promise.withResolvers<void>();
  let informed = false;
  let gateway: string | undefined;
  let seq = 0;
  let coming: ContainerView[] = [];

  const reports = useReports({
    clock,
    send: async (uses) => {
      if (gateway === undefined) throw controlAway("has not been heard of yet");
      await control.ask("/use", { gateway, seq, uses } satisfies UseReport, closed.signal);
    },
  });

  const identity = knownCallers({
    clock,
    closed: closed.signal,
    full: () => controlAway("is being asked of too many others who they are"),
    ask: async (tokens, signal) => {
      const { callers } = (await control.ask("/who", { tokens } satisfies WhoAsk, signal)) as WhoAnswers;
      return callers.map((caller) => caller ?? undefined);
    },
  });

  const takeAll = (upTo: number) => {
    if (!informed) log.info({ containers: coming.length }, "The control plane is there");
    informed = true;
    seq = upTo;
    containers.replace(coming);
    coming = [];
    known.resolve();
    reports.hurry();
  };
  const onLine = (line: FeedLine) => {
    switch (line.kind) {
      case "hello":
        gateway = line.gateway;
        return;
      case "all":
        coming.push(...line.containers);
        return line.more ? undefined : takeAll(line.seq ?? 0);
      case "changed":
        seq = line.seq;
        containers.change(line.container);
        return reports.hurry();
      case "removed":
        seq = line.seq;
        containers.remove(line.id);
        return reports.hurry();
      case "signedOut":
        return identity.forget();
      case "beat":
    }
  };
  // A control that was started anew counts its changes anew, and knows no name that it did not give.
  const onLost = () => {
    gateway = undefined;
    seq = 0;
    coming = [];
  };
  const endFeed = keepFeed({ ...parts, onLine, onLost });

  const close = async () => {
    if (closed.signal.aborted) return;
    endFeed();
    await reports.close();
    closed.abort(controlAway("is no longer asked"));
    control.close();
    known.resolve();
    await identity.close();
  };

  return {
    identity,
    directory: {
      known: (id) => containers.find(id),
      find: (id) => (informed ? Promise.resolve(containers.find(id)) : Promise.reject(controlAway("has not been heard of yet"))),
      watch: (id, onChange) => containers.watch(id, onChange),
      wake: async (id, caller, signal) => {
        await control.ask("/wake", { id, userId: caller.userId } satisfies WakeAsk, signal);
      },
      // A container that is awake is not about to be stopped, or control says so first; who waits for its end waits for this.
      used: (use) => reports.used(use, use.streams * use.open === 0 && containers.find(use.id)?.standing.kind !== "awake"),
      close,
    },
    ready: () => known.promise,
    close,
  };
}
