import type { Clock } from "../../lib/clock.ts";

/** Assigns numbers from 0 to containers, the longest unused first. */
export type Rotation = {
  isFull(): boolean;
  /** A free number; undefined if all are in use. It is in use until `release`, or until an update without it. */
  take(): number | undefined;
  /** The number rests before it is assigned again. */
  release(number: number): void;
  /** The numbers in use by a list of the engine that began at `since` (monotonic). Other numbers that were taken before then begin to rest. */
  update(inUse: ReadonlySet<number>, since: number): void;
};

/** The start of the search advances by one in this time: around 4 096 addresses in 17 minutes. */
const STEP_MS = 250;

/**
 * A number is not assigned again for `restMs`, so that no late request or idle connection for the old container reaches the new one. A restart loses these
 * rests. Therefore the search begins at a number from the wall clock: a new process begins behind nearly all numbers that the old one assigned in its last
 * minutes, because the old one advanced at least as fast as the clock. The engine's list shows those that are still in use. The exception is a container
 * that lived for a whole turn, ended within `restMs` before the restart, and has the next number: one case in `size` for each such container.
 */
export function createRotation(size: number, restMs: number, clock: Clock): Rotation {
  const takenAt = new Map<number, number>();
  const restsUntil = new Map<number, number>();
  let last = -1;

  const rest = (number: number) => {
    takenAt.delete(number);
    // Last in the map, so that the first one has rested longest.
    restsUntil.delete(number);
    restsUntil.set(number, clock.monotonic() + restMs);
  };
  const endRests = () => {
    const now = clock.monotonic();
    for (const [number, until] of restsUntil) {
      if (until > now) return;
      restsUntil.delete(number);
    }
  };
  const assign = (number: number) => {
    restsUntil.delete(number);
    takenAt.set(number, clock.monotonic());
    return number;
  };

  return {
    isFull: () => takenAt.size >= size,
    take: () => {
      endRests();
      const first = Math.max(last + 1, Math.floor(clock.now() / STEP_MS));
      for (let at = first; at < first + size; at++) {
        const number = at % size;
        if (takenAt.has(number) || restsUntil.has(number)) continue;
        last = at;
        return assign(number);
      }
      // A small network with many recent starts: a short rest is better than no number.
      const [rested] = restsUntil.keys();
      return rested === undefined ? undefined : assign(rested);
    },
    release: rest,
    update: (inUse, since) => {
      for (const [number, at] of takenAt) if (at < since && !inUse.has(number)) rest(number);
      for (const number of inUse) if (!takenAt.has(number)) assign(number);
    },
  };
}

/** An IPv4 network: its first address as a number, and the number of its addresses. */
export type Subnet = { first: number; size: number };

/** Private networks outside of Docker's own pools and the usual networks of clouds and offices. */
export const DEFAULT_SUBNETS: readonly string[] = ["10.201.0.0/16", "10.202.0.0/16", "10.203.0.0/16", "10.204.0.0/16"];

/** Undefined for anything but an IPv4 network in CIDR notation. */
export function parseSubnet(cidr: string): Subnet | undefined {
  const [, address = "", bits = ""] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(cidr) ?? [];
  const first = parseAddress(address);
  const prefix = Number(bits);
  if (first === undefined || bits === "" || prefix > 32) return undefined;
  const size = 2 ** (32 - prefix);
  return { first: first - (first % size), size };
}

export function parseAddress(address: string): number | undefined {
  const octets = address.split(".").map(Number);
  if (octets.length !== 4 || octets.some((octet) => !Number.isInteger(octet) || octet < 0 || octet > 255)) return undefined;
  return octets.reduce((sum, octet) => sum * 256 + octet, 0);
}

export function writeAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
}

export function writeSubnet({ first, size }: Subnet): string {
  return `${writeAddress(first)}/${32 - Math.log2(size)}`;
}

export function overlaps(one: Subnet, other: Subnet): boolean {
  return one.first < other.first + other.size && other.first < one.first + one.size;
}

export function contains({ first, size }: Subnet, address: number): boolean {
  return address >= first && address < first + size;
}

/** The part of a network whose addresses the engine assigns: to gateways, and to containers of users. berth assigns the rest. */
export function enginePart({ first, size }: Subnet): Subnet {
  return { first, size: size >= 256 ? size / 16 : size / 2 };
}

/** All networks of this size in the pools, beginning with the `from`th. */
export function* candidates(pools: readonly Subnet[], size: number, from = 0): Generator<Subnet> {
  const counts = pools.map((pool) => Math.floor(pool.size / size));
  const all = counts.reduce((sum, count) => sum + count, 0);
  for (let n = 0; n < all; n++) {
    let at = (from + n) % all;
    for (const [index, pool] of pools.entries()) {
      const count = counts[index] as number;
      if (at < count) {
        yield { first: pool.first + at * size, size };
        break;
      }
      at -= count;
    }
  }
}

/** The routes of a machine, from Linux's `/proc/net/route`, without the default route. */
export function parseRoutes(table: string): Subnet[] {
  const reversed = (hex: string) => Buffer.from(hex, "hex").readUInt32LE();
  return table
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [, destination = "", , , , , , mask = ""] = line.split("\t");
      if (!/^[0-9A-F]{8}$/i.test(destination) || !/^[0-9A-F]{8}$/i.test(mask) || mask === "00000000") return [];
      return [{ first: reversed(destination), size: 2 ** 32 - reversed(mask) }];
    });
}
