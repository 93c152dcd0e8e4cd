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
  type GatewayLoad,
  type OpenExchangesReply,
  type ReachedReport,
  type RecentRequest,
  type StartStatus,
  type StartStatusRequest,
  viewOffWire,
  type WakeRequest,
  type CallersReply,
  type CallersRequest,
  WIRE_VERSION,
} from "../contract.ts";
import { controlAway, controlBusy, openControlClient, type ControlLink } from "./control-client.ts";
import { NOT_LEADING, requestLeader } from "./control-group.ts";
import { openFeedConnection } from "./feed-connection.ts";
import { createLeaderEpochs } from "./follow-leader.ts";
import { openCallerCache } from "./caller-cache.ts";
import { createContainerCache, type TcpListenerSource } from "./container-cache.ts";
import { openUseReports } from "./use-reports.ts";

export type Feed = {
  directory: Directory;
  /** Which containers have TCP listeners; undefined: the source of containers knows none. */
  tcpListeners?: TcpListenerSource;
  identity: Identity;
  /** Resolves when the state of every container has arrived, or the feed is closed before that. */
  ready(): Promise<void>;
  /**
   * Resolves if control refuses this gateway, or is not the configured one, before the first state arrived: GATEWAY_REFUSED, CONTROL_UNTRUSTED. Later
   * control counts as away, and each attempt logs the reason.
   */
  refused(): Promise<Fault>;
  /**
   * Whether control is connected, the monotonic time of its last message, and the number of the last change. Undefined without a feed.
   */
  status(): { connected: boolean; lastMessageAt: number; seq: number } | undefined;
  close(): Promise<void>;
};

/** For the last report. Control takes it at once, or is away. */
const GOODBYE_MS = 500;
/** How long a request of an unknown caller waits for a control that is busy. */
const LONGEST_WHO_MS = 30_000;
/** How long a wake waits for a leader before its waiters learn why. They wait on, and the wake is repeated. */
const LONGEST_WAKE_MS = 2_000;

/**
 * The gateway's side of `gateway/contract.ts`, for control on this machine or another. While control is away, it serves from its cache. `version` is
 * this program's. `isToken`: whether a text has the form of a session token; default: every text.
 */
export function openFeed(deps: {
  link: ControlLink;
  version: string;
  isToken?: (token: string) => boolean;
  /** The open exchanges of a container, for control's queries. */
  openExchanges?: (id: string) => OpenExchangeList;
  /** The last finished requests of a container, for the same. */
  recentRequests?: ((id: string) => RecentRequest[]) | undefined;
  /** What this process does now, for the same. */
  load?: () => GatewayLoad;
  clock: Clock;
  log: Log;
}): Feed {
  const { link, version, isToken, openExchanges = () => ({ count: 0, open: [] }), recentRequests, load: readLoad, clock, log } = deps;
  const control = openControlClient({
    link,
    refused: () => connection.reopen("control refuses this gateway"),
    isAway: () => isInformed && isAway,
    clock,
  });
  const containers = createContainerCache();
  const closed = new AbortController();
  const ready = Promise.withResolvers<void>();
  const refused = Promise.withResolvers<Fault>();
  let isInformed = false;
  let gateway: string | undefined;
  /** Its name before it lost control: control may still have its requests under that name. */
  let previousName: string | undefined;
  /** The newest revision of control's store that arrived here. */
  let revision: { store: string; seen: number } | undefined;
  const epochs = createLeaderEpochs(link);
  let epoch: number | undefined;
  let otherVersion: string | undefined;
  let isAway = true;
  /** Ends requests to a control that became silent. */
  let silent = new AbortController();
  let refusals = 0;
  let closing = false;
  let seq = 0;
  let incoming: ContainerView[] = [];
  let lastMessageAt = clock.monotonic();

  const reports = openUseReports({
    clock,
    readHead: () => {
      if (gateway === undefined) throw controlAway("has sent nothing yet");
      return { gateway, seq };
    },
    send: async (head, report) => {
      // Control knows what was in use by another name now.
      if (head.gateway !== gateway) throw controlAway("was lost meanwhile");
      await control.post("/use", report, AbortSignal.any([closed.signal, silent.signal]));
    },
  });

  /** Posts what may be repeated. */
  const postToLeader = (path: string, body: unknown, signal: AbortSignal, longestMs: number): Promise<unknown> =>
    requestLeader(
      { group: link.group, clock },
      { longestMs, signal, isFailover: ({ code }) => NOT_LEADING.has(code) || (code === "CONTROL_BUSY" && isAway) },
      () => control.post(path, body, AbortSignal.any([signal, silent.signal])),
    );

  /** Repeats the request while control is connected and only slow. */
  const findCallers = async (tokens: readonly string[], signal: AbortSignal): Promise<CallersReply> => {
    const until = clock.monotonic() + LONGEST_WHO_MS;
    for (;;) {
      try {
        return (await postToLeader("/who", { tokens } satisfies CallersRequest, signal, LONGEST_WHO_MS)) as CallersReply;
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== "CONTROL_BUSY") throw error;
        if (isAway) throw controlAway("has become silent", error);
        if (clock.monotonic() >= until) throw error;
      }
    }
  };

  const identity = openCallerCache({
    clock,
    closed: closed.signal,
    ...(isToken === undefined ? {} : { isToken }),
    full: () => controlAway("has too many lookups of callers"),
    isAway: () => isInformed && isAway,
    joinsLookups: true,
    findCallers: async (tokens, signal) => {
      const { callers } = await findCallers(tokens, signal);
      return callers.map((caller) => caller ?? undefined);
    },
  });

  const takeAll = (upTo: number) => {
    if (isAway) log.info({ containers: incoming.length, control: link.name }, "control is connected");
    isInformed = true;
    isAway = false;
    seq = upTo;
    containers.replace(incoming);
    incoming = [];
    link.group?.connected(epoch);
    ready.resolve();
    reports.flushSoon();
  };
  const sendOpenExchanges = ({ ask, id, recent, load }: Extract<FeedLine, { kind: "ask" }>) => {
    if (gateway === undefined) return;
    // Control continues without a reply.
    const answer = recent
      ? { count: 0, open: [], recent: recentRequests?.(id) ?? [] }
      : load
        ? { count: 0, open: [], ...(readLoad ? { load: readLoad() } : {}) }
        : openExchanges(id);
    control.post("/open", { gateway, ask, ...answer } satisfies OpenExchangesReply, closed.signal).catch(() => undefined);
  };

  const onLine = (line: FeedLine) => {
    lastMessageAt = clock.monotonic();
    switch (line.kind) {
      case "hello":
        checkVersion(line);
        epoch = epochs.check(line);
        checkRevision(line);
        gateway = line.gateway;
        return reports.every(line.reportMs);
      case "all":
        incoming.push(...line.containers.map(viewOffWire));
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
        return sendOpenExchanges(line);
      case "signedOut":
        return identity.clear();
      case "revoked":
        // For registry proxies: see followLeader.
        return;
      case "beat":
        if (revision && line.revision !== undefined) revision.seen = line.revision;
    }
  };
  /** Its state counts nevertheless: there is no other. */
  const checkRevision = ({ store, revision: current }: Extract<FeedLine, { kind: "hello" }>) => {
    if (store === undefined || current === undefined) return;
    if (revision && (revision.store !== store || revision.seen > current))
      log.error(
        { control: link.name, seen: revision.seen, found: current, sameStore: revision.store === store },
        "control came back with an older store: changes are lost",
      );
    revision = { store, seen: current };
  };
  const checkVersion = ({ version: theirs = "", wire = WIRE_VERSION }: Extract<FeedLine, { kind: "hello" }>) => {
    if (wire !== WIRE_VERSION)
      throw new Fault("GATEWAY_REFUSED", `The control plane is of version ${theirs}, which this gateway of version ${version} does not understand.`);
    if (theirs !== version && theirs !== otherVersion) log.warn({ gateway: version, control: theirs }, "control has another version");
    otherVersion = theirs;
  };
  // A restarted control counts its changes from the start, and has given other names.
  const onLost = (isSilent: boolean) => {
    previousName = gateway ?? previousName;
    gateway = undefined;
    seq = 0;
    incoming = [];
    isAway = true;
    if (!isSilent) return;
    // The silence began during the request: a request that waits for a container may repeat it.
    silent.abort(controlBusy("has become silent"));
    silent = new AbortController();
  };
  const onRefused = (fault: Fault) => {
    if (isInformed || refusals > 0) log.error({ fault: fault.code, control: link.name }, fault.message);
    else refused.resolve(fault);
    refusals++;
  };
  const connection = openFeedConnection({
    link,
    path: () => {
      const last =
        previousName === undefined ? {} : { was: previousName, ...(revision && { store: revision.store, revision: String(revision.seen) }) };
      const query = new URLSearchParams({ ...last, ...epochs.query() }).toString();
      return query === "" ? "/feed" : `/feed?${query}`;
    },
    onLine,
    onLost,
    onRefused,
    awayMessage: "control is away: known containers are served, none is started",
    clock,
    log,
  });

  const close = async () => {
    if (closing) return;
    closing = true;
    // The last report has the name that the feed gave, so the feed ends after it.
    const cancel = clock.after(GOODBYE_MS, () => closed.abort(controlAway("did not take the last report")));
    await reports.close();
    cancel();
    connection.close();
    closed.abort(controlAway("is disconnected"));
    control.close();
    ready.resolve();
    await identity.close();
  };

  return {
    identity,
    tcpListeners: containers.tcpListeners,
    directory: {
      cached: (id) => containers.find(id),
      cachedBytes: containers.findBytes,
      changes: containers.changes,
      find: (id) => (isInformed ? Promise.resolve(containers.find(id)) : Promise.reject(controlAway("has sent nothing yet"))),
      watch: (id, onChange) => containers.watch(id, onChange),
      wake: async (id, caller, signal, traceparent) => {
        const by = caller.ref === undefined ? {} : { ref: caller.ref };
        const trace = traceparent === undefined ? {} : { traceparent };
        const user = caller.userId === "" ? {} : { userId: caller.userId };
        await postToLeader("/wake", { id, ...user, ...by, ...trace } satisfies WakeRequest, signal, LONGEST_WAKE_MS);
      },
      // Without it, the response has less detail.
      startStatus: async (id, _, signal) =>
        (await control
          .post("/start-status", { id } satisfies StartStatusRequest, AbortSignal.any([signal, silent.signal]))
          .catch(() => undefined)) as StartStatus | undefined,
      // A figure for users: while control is away, there is none.
      reportConnected: (id, connectMs) =>
        void control.post("/reached", { id, connectMs } satisfies ReachedReport, closed.signal).catch(() => undefined),
      // A busy container reports again.
      reportBusy: (id, seconds) => void control.post("/busy", { id, seconds } satisfies BusyReport, closed.signal).catch(() => undefined),
      // An awake container is not about to be stopped, or control reports that first. A stop waits for this report.
      reportUse: (use, isAwake = false) =>
        reports.used(use, !isAwake && use.streams * use.open === 0 && containers.find(use.id)?.availability.kind !== "awake"),
      close,
    },
    ready: () => ready.promise,
    refused: () => refused.promise,
    status: () => ({ connected: gateway !== undefined, lastMessageAt, seq }),
    close,
  };
}
