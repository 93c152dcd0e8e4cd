import { isIP } from "node:net";

/**
 * The addresses that one client has at will, as a key to count it by: an IPv4 address alone, of IPv6 the /64 around it, which is the
 * least that a subscriber is given (RFC 6177). What is no address stays as it is.
 */
export function addressBlock(address: string): string {
  if (!address.includes(":")) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
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
