import { readFileSync } from "node:fs";
import { type Server, type Socket, isIP } from "node:net";
import { type Clock, onceEvery } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Count } from "./metrics/open-metrics.ts";

/** One connection that counts. */
export type AdmittedConnection = {
  /** The connection is closed. May be repeated. */
  release(): void;
  /** Few are left, for its address or in all: a connection without a request should close. */
  readonly crowded: boolean;
};

export type ConnectionLimits = {
  /** Counts a connection from that address (undefined: a Unix socket). Undefined if it is one too many: the caller closes it. */
  admit(address: string | undefined): AdmittedConnection | undefined;
};

export type ConnectionLimitOptions = {
  /** Open connections of one client address (IPv6: of a /64), and in all. */
  perAddress: number;
  total: number;
  /** Addresses without a limit of their own: load balancers. */
  isExempt?(address: string): boolean;
  /** Refused connections by limit. */
  refused?: { at(why: "address" | "total"): Count };
  clock: Clock;
  log: Log;
};

/** The part of a limit beyond which connections are scarce. */
const CROWDED = 0.9;
const LOG_EVERY_MS = 1_000;
/** Descriptors for files, sockets to control and pipes. */
const KEPT_DESCRIPTORS = 256;
/** Below this limit, berth warns: each call and each WebSocket takes two descriptors. */
export const FEW_DESCRIPTORS = 8_192;

/** Counts the connections of a listener by their client's address, and refuses those beyond the bounds: each costs a descriptor and memory. */
export function createConnectionLimits(options: ConnectionLimitOptions): ConnectionLimits {
  const { perAddress, total, isExempt = () => false, refused, clock, log } = options;
  const addresses = new Map<string, AddressTally>();
  const all = { open: 0 };
  const tally = { crowdedAddress: perAddress * CROWDED, crowdedTotal: total * CROWDED, all, addresses };
  let unlogged = 0;
  const mayLog = onceEvery(LOG_EVERY_MS, clock);

  const refuse = (why: "address" | "total", address: string | undefined): undefined => {
    refused?.at(why).add();
    unlogged++;
    if (!mayLog()) return undefined;
    log.warn({ why, address, refused: unlogged, open: all.open, perAddress, total }, "connections refused");
    unlogged = 0;
    return undefined;
  };

  return {
    admit: (address) => {
      const plain = plainAddress(address);
      const counted = plain === "" || isExempt(plain) ? undefined : addressBlock(plain);
      const own = counted === undefined ? undefined : (addresses.get(counted) ?? { open: 0 });
      if (own !== undefined && own.open >= perAddress) return refuse("address", address);
      if (all.open >= total) return refuse("total", address);
      all.open++;
      if (own !== undefined && counted !== undefined) {
        own.open++;
        addresses.set(counted, own);
      }
      return new CountedConnection(tally, own, counted);
    },
  };
}

/** Open connections of one client address. */
type AddressTally = { open: number };
/** `crowdedAddress`, `crowdedTotal`: from so many on, connections are scarce. */
type ConnectionTally = { crowdedAddress: number; crowdedTotal: number; all: { open: number }; addresses: Map<string, AddressTally> };

/** A class: an object with functions of its own took half of the memory of an idle connection. */
class CountedConnection implements AdmittedConnection {
  readonly #tally: ConnectionTally;
  readonly #own: AddressTally | undefined;
  readonly #address: string | undefined;
  #released = false;

  constructor(tally: ConnectionTally, own: AddressTally | undefined, address: string | undefined) {
    this.#tally = tally;
    this.#own = own;
    this.#address = address;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    const { all, addresses } = this.#tally;
    all.open--;
    if (this.#own !== undefined && this.#address !== undefined && --this.#own.open === 0) addresses.delete(this.#address);
  }

  get crowded(): boolean {
    const { all, crowdedTotal, crowdedAddress } = this.#tally;
    return all.open >= crowdedTotal || (this.#own !== undefined && this.#own.open >= crowdedAddress);
  }
}

/** Applies `bounds` to a server. With TLS they count from the first byte. */
export function limitConnections(server: Server, bounds: ConnectionLimits): void {
  server.on("connection", (socket: Socket) => {
    const admission = bounds.admit(socket.remoteAddress);
    if (admission === undefined) socket.destroy();
    else socket.once("close", () => admission.release());
  });
}

/**
 * The number of clients for which each can have a connection to a container too: half of the descriptors of this process, without those that it keeps; at
 * most `most`.
 */
export function connectionsFor(descriptors: number | undefined, most: number): number {
  if (descriptors === undefined) return most;
  return Math.max(16, Math.min(most, Math.floor((descriptors - KEPT_DESCRIPTORS) / 2)));
}

/** The limit of open descriptors of this process; undefined if there is none, or it is unknown. */
export function descriptorLimit(): number | undefined {
  try {
    // Node has raised the soft limit to the hard one by now.
    const soft = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/** The address of a peer; empty if it is not known. A socket for IPv6 shows an IPv4 peer as `::ffff:` and its address (RFC 4291 §2.5.5.2). */
export function plainAddress(address: string | undefined): string {
  return address?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "") ?? "";
}

/**
 * The block of addresses that one client can use, as a key for limits: an IPv4 address alone; for IPv6 its /64, the smallest block of a subscriber
 * (RFC 6177). Other texts stay unchanged.
 */
export function addressBlock(given: string): string {
  const address = plainAddress(given);
  if (!address.includes(":")) return address;
  const [bare = ""] = address.split("%", 1);
  if (isIP(bare) !== 6) return address;
  const [before = "", after] = bare.split("::");
  const groups = before === "" ? [] : before.split(":");
  if (after !== undefined) {
    const behind = after === "" ? [] : after.split(":");
    // A dotted quad at the end stands for two groups.
    const count = groups.length + behind.length + (after.includes(".") ? 1 : 0);
    groups.push(...Array.from({ length: 8 - count }, () => "0"), ...behind);
  }
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(":")}::/64`;
}
