import { lookup } from "node:dns/promises";
import type { Clock } from "../../lib/clock.ts";
import { retryDelay } from "../../lib/backoff.ts";
import { Fault, type FaultCode } from "../../lib/fault.ts";
import type { ForwardTarget } from "../decision.ts";
import { type ControlApi, type ControlGroup, type ControlLink, noLeader } from "./control-client.ts";

/** One entry of the list: a control process, or a name with the addresses of several. */
export type ControlMember = {
  /** A name to look up; undefined: `linkTo` needs no address. */
  name: string | undefined;
  /** `address`: one of the name's IP addresses; undefined: none is known yet. */
  linkTo(address: string | undefined): ControlLink;
};

/** How long a request to the API waits for a leader. */
const API_WAIT_MS = 15_000;
/** How soon the feed notices at the latest that a leader is gone which refuses connections. */
const NOTICE_MS = 2_000;
/** The names are looked up again after this time while no control process leads. */
const LOOKUP_MS = 1_000;
/** How long the reason that a control process reports is the reason for all, whatever keeps the others from a reply: longer than a round. */
const REPORTED_MS = 10_000;

/**
 * A link that follows the leader. A name with several addresses counts as several control processes. `waits`: requests wait even for a single one, because
 * it is replaced within seconds.
 */
export function controlGroup(members: readonly ControlMember[], clock: Clock, resolve = addressesOf, waits = false): ControlLink {
  let links = members.map(({ linkTo }) => linkTo(undefined));
  let at = 0;
  let untried = links.length;
  let isConnected = false;
  /** Of the last leader. */
  let epoch: number | undefined;
  let problem = "it was not reached yet";
  let reportedAt: number | undefined;
  let lookedUpAt: number | undefined;
  const waiting = new Set<() => void>();
  /** Resolved when the connected one is lost. */
  const losing = new Set<() => void>();
  const leaderWatchers = new Set<(leader: ForwardTarget) => void>();
  const current = (): ControlLink => links[at % links.length] as ControlLink;

  const lookUp = async () => {
    if (lookedUpAt !== undefined && clock.monotonic() - lookedUpAt < LOOKUP_MS) return;
    lookedUpAt = clock.monotonic();
    const all = await Promise.all(members.map(async ({ name, linkTo }) => (name === undefined ? [linkTo(undefined)] : linksTo(name, linkTo))));
    // The connected one keeps its place.
    if (isConnected || all.flat().length === 0) return;
    const { name } = current();
    links = all.flat();
    at = Math.max(
      0,
      links.findIndex((link) => link.name === name),
    );
    untried = Math.min(untried, links.length);
  };
  /** The name itself where it cannot be looked up: the connect reports the reason. */
  const linksTo = async (name: string, linkTo: ControlMember["linkTo"]): Promise<ControlLink[]> => {
    const addresses = await resolve(name).catch(() => []);
    return addresses.length === 0 ? [linkTo(undefined)] : addresses.map(linkTo);
  };
  const hasNames = members.some(({ name }) => name !== undefined);
  if (hasNames) void lookUp();

  const group: ControlGroup = {
    current,
    size: () => links.length,
    // Two addresses of one name may be one machine.
    canFailOver: () => waits || members.length > 1 || epoch !== undefined,
    moveOn: (leader) => {
      untried--;
      const named = leader === undefined ? -1 : links.findIndex(({ name }) => name === leader);
      const isOther = named !== -1 && named !== at % links.length;
      at = isOther ? named : at + 1;
      const isRound = untried <= 0;
      if (isRound) {
        untried = links.length;
        if (hasNames) void lookUp();
      }
      return isRound;
    },
    connected: (newEpoch) => {
      isConnected = true;
      reportedAt = undefined;
      const isOther = newEpoch === undefined || newEpoch !== epoch;
      epoch = newEpoch;
      untried = links.length;
      if (isOther) for (const act of leaderWatchers) act(current().api.target);
      for (const proceed of waiting) proceed();
    },
    disconnected: (why, isReported = false) => {
      isConnected = false;
      const now = clock.monotonic();
      if (isReported) reportedAt = now;
      if (isReported || reportedAt === undefined || now - reportedAt > REPORTED_MS) problem = why;
      for (const resolve of losing) resolve();
    },
    leader: (ms, signal) => {
      if (isConnected) return Promise.resolve();
      return new Promise((proceed, reject) => {
        const leave = () => {
          waiting.delete(onLeader);
          cancel();
          signal?.removeEventListener("abort", onAbort);
        };
        const onLeader = () => {
          leave();
          proceed();
        };
        const onAbort = () => {
          leave();
          reject(signal?.reason as Error);
        };
        const cancel = clock.after(ms, () => {
          leave();
          reject(noLeader(problem));
        });
        waiting.add(onLeader);
        signal?.addEventListener("abort", onAbort, { once: true });
        if (signal?.aborted) onAbort();
      });
    },
  };
  const afterLeader = async (isGone: boolean, signal: AbortSignal | undefined) => {
    if (isGone) {
      const lost = new AbortController();
      const noticed = () => lost.abort();
      losing.add(noticed);
      await clock.sleep(NOTICE_MS, signal === undefined ? lost.signal : AbortSignal.any([lost.signal, signal])).catch(() => undefined);
      losing.delete(noticed);
    }
    await group.leader(API_WAIT_MS, signal);
    return current().api.target;
  };
  const api: ControlApi = {
    get target() {
      return current().api.target;
    },
    // Before the leader is known. The socket of a control process on this machine ignores the header.
    admits: () => links.find(({ api: { admits } }) => admits !== undefined)?.api.admits?.(),
    leader: (lost, client) => {
      if (!group.canFailOver()) return current().api.target;
      // The process there has ended, which the feed has not noticed yet.
      const isGone = lost !== undefined && isConnected && current().api.target === lost;
      return isConnected && !isGone ? current().api.target : afterLeader(isGone, client?.signal);
    },
    canFailOver: () => group.canFailOver(),
    watchLeader: (act) => {
      const watcher = (leader: ForwardTarget) => act(leader);
      leaderWatchers.add(watcher);
      return () => void leaderWatchers.delete(watcher);
    },
  };
  return {
    get name() {
      return current().name;
    },
    connect: () => current().connect(),
    connectToApi: () => current().connectToApi(),
    headers: () => current().headers(),
    api,
    group,
  };
}

/** The faults of a control process that has stopped leading. */
export const NOT_LEADING: ReadonlySet<FaultCode> = new Set(["CONTROL_AWAY", "CONTROL_STANDBY", "CONTROL_NO_LEADER"]);
const LEADER_RETRY = { firstMs: 50, longestMs: 500 };

/**
 * Sends what may be repeated. Among several control processes it waits for the leader, up to `longestMs`, and repeats what a failover interrupted, by
 * `isFailover`. `evenAlone`: also for a single one, which is started again. Faults: those of `send`; CONTROL_NO_LEADER.
 */
export async function requestLeader<R>(
  { group, clock }: { group: ControlGroup | undefined; clock: Clock },
  options: { longestMs: number; signal?: AbortSignal; isFailover(fault: Fault): boolean; evenAlone?: true },
  send: () => Promise<R>,
): Promise<R> {
  const { longestMs, signal, isFailover, evenAlone = false } = options;
  const until = clock.monotonic() + longestMs;
  for (let failures = 1; ; failures++) {
    if (group?.canFailOver()) await group.leader(Math.max(0, until - clock.monotonic()), signal);
    try {
      return await send();
    } catch (error) {
      const isOneOfSeveral = group?.canFailOver() === true;
      if (!(isOneOfSeveral || evenAlone) || !(error instanceof Fault && isFailover(error))) throw error;
      // A request that is held waits on: another control process may lead in a moment.
      if (clock.monotonic() >= until) throw isOneOfSeveral && error.code === "CONTROL_AWAY" ? noLeader(error.message, error) : error;
    }
    await clock.sleep(retryDelay(LEADER_RETRY, failures), signal);
  }
}

/** The IP addresses of a name, in a stable order, so that all gateways begin with the same one. */
async function addressesOf(name: string): Promise<string[]> {
  const addresses = await lookup(name, { all: true });
  return addresses.map(({ address }) => address).toSorted();
}
