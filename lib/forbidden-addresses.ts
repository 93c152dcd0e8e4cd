import { BlockList, isIP } from "node:net";

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
