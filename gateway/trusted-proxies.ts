import { BoundedMap } from "../lib/bounded-map.ts";
import { BlockList, isIP } from "node:net";

/** The load balancers in front: what they say of where a request came from is believed. */
export type TrustedProxies = {
  trusts(address: string): boolean;
  /**
   * The client's own address: of `peer` and those that `forwardedFor` names before it, the last that is no trusted proxy. What an
   * untrusted one says of whom it speaks for is not even looked at.
   */
  clientOf(forwardedFor: string | undefined, peer: string): string;
};

/** What the words of `BERTH_TRUSTED_PROXIES` stand for. `private`: RFC 1918 and RFC 4193. */
const WORDS: Record<string, readonly string[]> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Proxies that one request may have passed; what is named before them is not looked at. A header of 64 KiB names thousands. */
const MOST_HOPS = 32;

/** Peers whose verdict is remembered; the list behind it costs a microsecond to ask. */
const MOST_REMEMBERED = 1_000;

/** `blocks` are addresses, blocks such as `10.0.0.0/8`, and the words above. */
export function trustedProxies(blocks: readonly string[]): TrustedProxies {
  if (blocks.length === 0) return { trusts: () => false, clientOf: (_chain, peer) => peer };
  const list = new BlockList();
  for (const block of blocks.flatMap((word) => WORDS[word] ?? [word])) {
    const [address = "", bits] = block.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  const remembered = new BoundedMap<string, boolean>(MOST_REMEMBERED);

  const trusts = (address: string): boolean => {
    const known = remembered.get(address);
    if (known !== undefined) return known;
    const family = isIP(address);
    const verdict = family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
    remembered.set(address, verdict);
    return verdict;
  };

  return {
    trusts,
    clientOf: (forwardedFor, peer) => {
      let client = peer;
      const chain = forwardedFor ?? "";
      let end = forwardedFor === undefined ? -1 : chain.length;
      for (let hop = 0; end >= 0 && hop < MOST_HOPS && trusts(client); hop++) {
        const comma = end === 0 ? -1 : chain.lastIndexOf(",", end - 1);
        const address = addressIn(chain.slice(comma + 1, end).trim());
        if (address === undefined) return client;
        client = address;
        end = comma;
      }
      return client;
    },
  };
}

/** Some write a port behind the address, and then brackets around one of IPv6. */
function addressIn(said: string): string | undefined {
  if (isIP(said) !== 0) return said;
  const address = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(said)?.slice(1).find(Boolean) ?? "";
  return isIP(address) === 0 ? undefined : address;
}
