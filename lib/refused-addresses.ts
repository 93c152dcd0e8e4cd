import { BlockList, isIP, isIPv4, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { plainAddress } from "./connection-limits.ts";
import type { Log } from "./log.ts";

/** Link-local addresses, and the metadata servers of clouds, which issue credentials: Alibaba's and Oracle's have addresses of their own. */
export const LINK_AND_METADATA = {
  ipv4: [
    ["169.254.0.0", 16],
    ["100.100.100.200", 32],
    ["192.0.0.192", 32],
  ],
  ipv6: [
    ["fe80::", 10],
    ["fd00:ec2::254", 128],
  ],
} as const;

export type Subnets = { ipv4: readonly (readonly [address: string, bits: number])[]; ipv6: readonly (readonly [address: string, bits: number])[] };

/** Matches IPv4 also in its NAT64 (RFC 6052) and IPv6-mapped (`::ffff:`) forms. */
export function blockListOf(...lists: readonly Subnets[]): (address: string) => boolean {
  const blocked = new BlockList();
  for (const { ipv4, ipv6 } of lists) {
    for (const [address, bits] of ipv4) {
      blocked.addSubnet(address, bits, "ipv4");
      blocked.addSubnet(`64:ff9b::${address}`, 96 + bits, "ipv6");
    }
    for (const [address, bits] of ipv6) blocked.addSubnet(address, bits, "ipv6");
  }
  return (address) => blocked.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

const isOfTheLink = blockListOf(LINK_AND_METADATA);
/** Names of metadata servers in the resolvers of clouds. */
const METADATA_NAMES: ReadonlySet<string> = new Set(["metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal"]);
/** Texts that resolvers read as addresses (`2852039166`, `0xa9.0xfe.1`). */
const NUMERIC = /^(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)$/i;

/** Whether no request with a token may go there, although a container has this address: link-local, a cloud's metadata, or a text that may hide one. */
export function isRefusedHost(host: string): boolean {
  // A zone only names the link.
  const bare = (host.split("%", 1)[0] ?? "").replace(/\.$/, "").toLowerCase();
  return isIP(bare) === 0 ? METADATA_NAMES.has(bare) || NUMERIC.test(bare) : isOfTheLink(bare);
}

/**
 * Listeners that are for operators and for other parts of berth: metrics, the spawner API, the gateways' entrance. On 0.0.0.0, as in berth's images, they
 * are also at the address by which a container reaches this machine, or berth's own container.
 */
export type PrivateListeners = {
  /** Has a server hang up on containers, before a byte of theirs is read. */
  guard(server: Pick<Server, "prependListener">): void;
};

const REMARK_EVERY = 1_000;

/**
 * `subnets` are those that berth's container networks are cut from (`BERTH_DOCKER_SUBNETS`). A peer is taken for a container where its address is in one of
 * them and this machine, or container, is on its network itself: another site of the same addresses, which comes in through a router, is not.
 */
export function privateListeners({ subnets, allowed, log }: { subnets: readonly string[]; allowed: boolean; log: Log }): PrivateListeners {
  const pools = blocks(subnets);
  let refused = 0;
  const onConnection = (socket: Socket) => {
    const peer = plainAddress(socket.remoteAddress);
    if (!isIPv4(peer) || !pools.check(peer) || !isOnOwnLink(peer, pools)) return;
    socket.destroy();
    if (refused++ % REMARK_EVERY === 0)
      log.warn({ from: peer, port: socket.localPort, refused }, "A container was refused at a private listener: BERTH_PRIVATE_FROM_CONTAINERS.");
  };
  return { guard: (server) => void (allowed || server.prependListener("connection", onConnection)) };
}

function isOnOwnLink(peer: string, pools: BlockList): boolean {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address, cidr, family }) => family === "IPv4" && cidr !== null && pools.check(address) && blocks([cidr]).check(peer));
}

function blocks(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = "", bits = ""] = cidr.split("/");
    list.addSubnet(address, Number(bits), "ipv4");
  }
  return list;
}
