import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import {
  type ContainerView,
  type Directory,
  type OpenExchangeList,
  type Identity,
  type BusyReport,
  type FeedLine,
  type OpenExchangesReply,
  type ReachedReport,
  type UseReport,
  viewOffWire,
  type WakeRequest,
  type CallersReply,
  type CallersRequest,
  WIRE_VERSION,
} from "../contract.ts";
import { controlAway, controlBusy, openControlClient, type ControlLink } from "./control-client.ts";
import { openFeedConnection } from "./feed-connection.ts";
import { openCallerCache } from "./caller-cache.ts";
import { createContainerCache } from "./container-cache.ts";
import { openUseReports } from "./use-reports.ts";

export type Feed = {
  directory: Directory;
  identity: Identity;
  /** Resolves once every container is known, and when the feed is closed before that. */
  ready(): Promise<void>;
  /**
   * Resolves where control does not let this gateway in, or is not the one that is meant, before anything was known: GATEWAY_REFUSED,
   * CONTROL_UNTRUSTED. Later that only makes it count as away, and is told to the log again and again.
   */
  refused(): Promise<Fault>;
  /**
   * Whether control is heard at the moment, when it last was (on the clock's monotonic scale), and the last change that was seen; undefined where
   * nothing is followed.
   */
  status(): { connected: boolean; heardAt: number; seq: number } | undefined;
  close(): Promise<void>;
};

/** Control takes it at once or not at all: where it cannot be reached, nobody waits for that. */
const GOODBYE_MS = 500;
/** How long a caller that is unknown to this gateway waits for a control that is there and busy. */
const LONGEST_WHO_MS = 30_000;

/**
 * The gateway's side of `gateway/contract.ts`, on this machine or another: goes on answering from what it knows while control is away. `version` is that
 * of this program; `isToken`: whether a text may be a session's token by its form; anything where it is left out.
 */
export function openFeed(parts: {
  link: ControlLink;
  version: string;
  isToken?: (token: string) => boolean;
  /** The open exchanges of a container, for control's queries. */
  openExchanges?: (id: string) => OpenExchangeList;
  clock: Clock;
  log: Log;
}): Feed {
  const { link, version, isToken, openExchanges = () => ({ count: 0, open: [] }), clock, log } = parts;
  const control = openControlClient({ link, refused: () => kept.renew("this gateway is let in no more"), isAway: () => informed && away, clock });
  const containers = createContainerCache();
  const closed = new AbortController();
  const known = Promise.withResolvers<void>();
  const refused = Promise.withResolvers<Fault>();
  let informed = false;
  let gateway: string | undefined;
  /** Its name before it lost control, under which that may still know of its requests. */
  let was: string | undefined;
  /** The newest revision of control's store that was seen. */
  let revision: { store: string; seen: number } | undefined;
  let otherVersion: string | undefined;
  let away = true;
  /** Ends questions that a control that fell silent would leave open. */
  let silent = new AbortController();
  let refusals = 0;
  let closing = false;
  let seq = 0;
  let coming: ContainerView[] = [];
  let heardAt = clock.monotonic();

  const reports = openUseReports({
    clock,
    send: async (uses, last) => {
      if (gateway === undefined) throw controlAway("has not been heard of yet");
      await control.post(
        "/use",
        { gateway, seq, uses, ...(last ? { last } : {}) } satisfies UseReport,
        AbortSignal.any([closed.signal, silent.signal]),
      );
    },
  });

  /** Asks again as long as control is there and only slow. */
  const askWho = async (tokens: readonly string[], signal: AbortSignal): Promise<CallersReply> => {
    const until = clock.monotonic() + LONGEST_WHO_MS;
    for (;;) {
      try {
        return (await control.post("/who", { tokens } satisfies CallersRequest, AbortSignal.any([signal, silent.signal]))) as CallersReply;
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== "CONTROL_BUSY") throw error;
        if (away) throw controlAway("has fallen silent", error);
        if (clock.monotonic() >= until) throw error;
      }
    }
  };

  const identity = openCallerCache({
    clock,
    closed: closed.signal,
    ...(isToken === undefined ? {} : { isToken }),
    full: () => controlAway("is being asked of too many others who they are"),
    isAway: () => informed && away,
    findCallers: async (tokens, signal) => {
      const { callers } = await askWho(tokens, signal);
      return callers.map((caller) => caller ?? undefined);
    },
  });

  const takeAll = (upTo: number) => {
    if (away) log.info({ containers: coming.length, control: link.name }, "The control plane is there");
    informed = true;
    away = false;
    seq = upTo;
    containers.replace(coming);
    coming = [];
    known.resolve();
    reports.flushSoon();
  };
  const answerAsk = ({ ask, id }: { ask: number; id: string }) => {
    if (gateway === undefined) return;
    // Who asked has gone on without, should it not arrive.
    control.post("/open", { gateway, ask, ...openExchanges(id) } satisfies OpenExchangesReply, closed.signal).catch(() => undefined);
  };

  const onLine = (line: FeedLine) => {
    heardAt = clock.monotonic();
    switch (line.kind) {
      case "hello":
        checkVersion(line);
        checkRevision(line);
        gateway = line.gateway;
        return reports.every(line.reportMs);
      case "all":
        coming.push(...line.containers.map(viewOffWire));
        return line.more ? undefined : takeAll(line.seq ?? 0);
      case "changed":
        seq = line.seq;
        containers.change(viewOffWire(line.container));
        return reports.flushSoon();
      case "removed":
        seq = line.seq;
        containers.remove(line.id);
        return reports.flushSoon();
      case "ask":
        return answerAsk(line);
      case "signedOut":
        return identity.clear();
      case "beat":
        if (revision && line.revision !== undefined) revision.seen = line.revision;
    }
  };
  /** Its state is taken all the same: it is the only one there is. */
  const checkRevision = ({ store, revision: found }: Extract<FeedLine, { kind: "hello" }>) => {
    if (store === undefined || found === undefined) return;
    if (revision && (revision.store !== store || revision.seen > found))
      log.error(
        { control: link.name, seen: revision.seen, found, sameStore: revision.store === store },
        "The control plane came back with an older store: changes are lost",
      );
    revision = { store, seen: found };
  };
  const checkVersion = ({ version: theirs = "", wire = WIRE_VERSION }: Extract<FeedLine, { kind: "hello" }>) => {
    if (wire !== WIRE_VERSION)
      throw new Fault("GATEWAY_REFUSED", `The control plane is of version ${theirs}, which this gateway of version ${version} does not understand.`);
    if (theirs !== version && theirs !== otherVersion) log.warn({ gateway: version, control: theirs }, "The control plane is of another version");
    otherVersion = theirs;
  };
  // A control that was started anew counts its changes anew, and knows no name that it did not give.
  const onLost = (isSilent: boolean) => {
    was = gateway ?? was;
    gateway = undefined;
    seq = 0;
    coming = [];
    away = true;
    if (!isSilent) return;
    // A silence that began during the request: a request that waits for a container may repeat it.
    silent.abort(controlBusy("has fallen silent"));
    silent = new AbortController();
  };
  const onRefused = (fault: Fault) => {
    if (informed || refusals > 0) log.error({ fault: fault.code, control: link.name }, fault.message);
    else refused.resolve(fault);
    refusals++;
  };
  const kept = openFeedConnection({
    link,
    path: () =>
      was === undefined
        ? "/feed"
        : `/feed?${new URLSearchParams({ was, ...(revision && { store: revision.store, revision: String(revision.seen) }) }).toString()}`,
    onLine,
    onLost,
    onRefused,
    clock,
    log,
  });

  const close = async () => {
    if (closing) return;
    closing = true;
    // The last report goes out under the name that the feed gave, so that ends after it.
    const cancel = clock.after(GOODBYE_MS, () => closed.abort(controlAway("did not take the last report")));
    await reports.close();
    cancel();
    kept.close();
    closed.abort(controlAway("is no longer asked"));
    control.close();
    known.resolve();
    await identity.close();
  };

  return {
    identity,
    directory: {
      cached: (id) => containers.find(id),
      find: (id) => (informed ? Promise.resolve(containers.find(id)) : Promise.reject(controlAway("has not been heard of yet"))),
      watch: (id, onChange) => containers.watch(id, onChange),
      wake: async (id, caller, signal, traceparent) => {
        const by = caller.ref === undefined ? {} : { ref: caller.ref };
        const trace = traceparent === undefined ? {} : { traceparent };
        await control.post("/wake", { id, userId: caller.userId, ...by, ...trace } satisfies WakeRequest, AbortSignal.any([signal, silent.signal]));
      },
      // A figure for people: where control is away, there is none.
      reportConnected: (id, connectMs) =>
        void control.post("/reached", { id, connectMs } satisfies ReachedReport, closed.signal).catch(() => undefined),
      // What is busy says so again.
      reportBusy: (id, seconds) => void control.post("/busy", { id, seconds } satisfies BusyReport, closed.signal).catch(() => undefined),
      // A container that is awake is not about to be stopped, or control says so first; who waits for its end waits for this.
      reportUse: (use) => reports.used(use, use.streams * use.open === 0 && containers.find(use.id)?.availability.kind !== "awake"),
      close,
    },
    ready: () => known.promise,
    refused: () => refused.promise,
    status: () => ({ connected: gateway !== undefined, heardAt, seq }),
    close,
  };
}
