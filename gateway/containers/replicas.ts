import type { ContainerAddress, ContainerUse, LoadSource, ReportedLoad } from "../contract.ts";
import { cookieValues } from "../../lib/cookies.ts";
import { type HeaderLine, keyOfTarget } from "../decision.ts";

/** The exchanges of this gateway at one address of a container with replicas. `use`: of a further replica, which is reported by itself. */
export type ReplicaUse = { open: number; use: FurtherReplicaUse | undefined };

type FurtherReplicaUse = ContainerUse & { reportDue: boolean; replica: true };

/** `at`: by `keyOfTarget` of their addresses. `further`: by the ids of their owners. */
export type ReplicaUses = { at: Map<string, ReplicaUse>; further: Map<string, FurtherReplicaUse> };

export function createReplicaUses(): ReplicaUses {
  return { at: new Map(), further: new Map() };
}

export function replicaUseAt(uses: ReplicaUses, address: ContainerAddress): ReplicaUse {
  const key = keyOfTarget(address);
  const existing = uses.at.get(key);
  // The same address of another replica: the earlier one has gone.
  if (existing !== undefined && existing.use?.id === address.owner) return existing;
  for (const [other, { open }] of uses.at) if (open === 0) uses.at.delete(other);
  for (const [owner, { streams }] of uses.further) if (streams === 0) uses.further.delete(owner);
  const made = { open: 0, use: address.owner === undefined ? undefined : useOf(uses, address.owner) };
  uses.at.set(key, made);
  return made;
}

/** One for each replica, although exchanges may be open at an earlier address of it: a report has one number for each id. */
function useOf({ further }: ReplicaUses, owner: string): FurtherReplicaUse {
  const existing = further.get(owner);
  if (existing !== undefined) return existing;
  const made: FurtherReplicaUse = { id: owner, open: 0, streams: 0, lastActive: 0, reportDue: false, replica: true };
  further.set(owner, made);
  return made;
}

/** The address of the replica that is preferred if it is there and has fewer exchanges than `limit`, else the one with the fewest; of equals, they take turns. */
export function leastLoaded(
  uses: ReplicaUses,
  addresses: readonly ContainerAddress[],
  { preferred, limit, turn }: { preferred: number | undefined; limit: number; turn: number },
): ContainerAddress | undefined {
  let best: ContainerAddress | undefined;
  let least = Infinity;
  for (let step = 0; step < addresses.length; step++) {
    const address = addresses[(turn + step) % addresses.length];
    if (address === undefined) continue;
    const open = uses.at.get(keyOfTarget(address))?.open ?? 0;
    if (preferred !== undefined && address.replica === preferred && open < limit) return address;
    if (open >= least) continue;
    best = address;
    least = open;
  }
  return best;
}

/** The number of open exchanges, summed up over time: reports of numbers alone would miss what happens between them. */
export class OpenLoad implements LoadSource {
  readonly #monotonic: () => number;
  #open = 0;
  #sum = 0;
  #from: number;
  #at: number;

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
    this.#at = monotonic();
    this.#from = this.#at;
  }

  change(by: number): void {
    this.#advance();
    this.#open += by;
  }

  take(): ReportedLoad {
    this.#advance();
    const ms = this.#at - this.#from;
    const load = { average: ms > 0 ? this.#sum / ms : this.#open, ms };
    this.#sum = 0;
    this.#from = this.#at;
    return load;
  }

  putBack({ average, ms }: ReportedLoad): void {
    this.#sum += average * ms;
    this.#from -= ms;
  }

  #advance(): void {
    const now = this.#monotonic();
    this.#sum += this.#open * Math.max(0, now - this.#at);
    this.#at = now;
  }
}

const COOKIE_PREFIX = "berth-replica-";

export function isReplicaCookie(name: string): boolean {
  return name.startsWith(COOKIE_PREFIX);
}

/** One for each container: its id begins with as much as tells a browser's few apart. */
function cookieName(containerId: string): string {
  return COOKIE_PREFIX + containerId.slice(0, 8);
}

/** The replica that this browser reached before; undefined: none, or a cookie that is not berth's. */
export function preferredReplica(cookie: string | undefined, containerId: string): number | undefined {
  if (cookie === undefined || !cookie.includes(COOKIE_PREFIX)) return undefined;
  for (const value of cookieValues(cookie, cookieName(containerId))) if (/^\d{1,4}$/.test(value)) return Number(value);
  return undefined;
}

/** Lives as long as the browser's session. No script needs it, and pages of other sites send it along, as they do the request. */
export function replicaCookie(containerId: string, replica: number, tls: boolean): HeaderLine {
  return ["Set-Cookie", `${cookieName(containerId)}=${replica}; Path=/; HttpOnly; SameSite=Lax${tls ? "; Secure" : ""}`];
}
