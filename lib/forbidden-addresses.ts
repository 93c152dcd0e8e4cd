import { BlockList, isIP } from "node:net";

/** Whatever is on the machine's own link, and the metadata of clouds, which hands out credentials: Alibaba's and Oracle's have addresses of their own. */
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

/** IPv4 also as networks without it reach it (NAT64, RFC 6052) and as IPv6 writes it (`::ffff:`). */
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
/** By which clouds' own resolvers tell where their metadata is. */
const METADATA_NAMES: ReadonlySet<string> = new Set(["metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal"]);
/** No name: resolvers read it as an address all the same (`2852039166`, `0xa9.0xfe.1`). */
const NUMERIC = /^(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)$/i;

/** Whether users' tokens may not be sent there, whoever says that a container is: a link-local address, a cloud's metadata, or what may hide one. */
export function isRefusedHost(host: string): boolean {
  // A zone only says on which link it is.
  const bare = (host.split("%", 1)[0] ?? "").replace(/\.$/, "").toLowerCase();
  return isIP(bare) === 0 ? METADATA_NAMES.has(bare) || NUMERIC.test(bare) : isOfTheLink(bare);
}
