/** An IPv4 network: its first address as a number, and how many it has. */
export type Subnet = { first: number; size: number };

/** Private networks that neither Docker's own pools nor the usual ones of clouds and offices have. */
export const DEFAULT_SUBNETS: readonly string[] = ["10.201.0.0/16", "10.202.0.0/16", "10.203.0.0/16", "10.204.0.0/16"];

/** Undefined for what is no IPv4 network in CIDR notation. */
export function readSubnet(cidr: string): Subnet | undefined {
  const [, address = "", bits = ""] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(cidr) ?? [];
  const first = readAddress(address);
  const prefix = Number(bits);
  if (first === undefined || bits === "" || prefix > 32) return undefined;
  const size = 2 ** (32 - prefix);
  return { first: first - (first % size), size };
}

export function readAddress(address: string): number | undefined {
  const parts = address.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) return undefined;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
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

/** The part of a network that the engine assigns where berth assigns none: gateways, and containers that people put there. The rest is berth's. */
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

/** Networks that a machine has routes to, of Linux's `/proc/net/route`; the default route leads everywhere, and is left out. */
export function readRoutes(table: string): Subnet[] {
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
