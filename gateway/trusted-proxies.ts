import { BlockList, isIP } from "node:net";
import { BoundedMap } from "../lib/bounded-map.ts";

/** The load balancers in front: their forwarding headers are believed. */
export type TrustedProxies = {
  trusts(address: string): boolean;
  /**
   * The client's own address: of `peer` and the addresses that `forwardedFor` lists before it, the last that is not a trusted proxy.
   * Entries that an untrusted address wrote are ignored.
   */
  clientOf(forwardedFor: string | undefined, peer: string): string;
};

/** Names that `BERTH_TRUSTED_PROXIES` accepts beside blocks. `private`: RFC 1918 and RFC 4193. */
const NAMED_BLOCKS: Record<string, readonly string[]> = {
  loopback: ["127.0.0.0/8", "::1"],
  private: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
};

/** Entries of `X-Forwarded-For` that are read at most. A header of 64 KiB lists thousands. */
const MAX_HOPS = 32;

/** Peers whose result is cached; a look-up in the block list takes a microsecond. */
const MAX_CACHED_PEERS = 1_000;

/** `blocks` are addresses, blocks such as `10.0.0.0/8`, and the names above. */
export function createTrustedProxies(blocks: readonly string[]): TrustedProxies {
  if (blocks.length === 0) return { trusts: () => false, clientOf: (_forwardedFor, peer) => peer };
  const list = new BlockList();
  for (const block of blocks.flatMap((name) => NAMED_BLOCKS[name] ?? [name])) {
    const [address = "", bits] = block.split("/");
    const family = isIP(address) === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  const cache = new BoundedMap<string, boolean>(MAX_CACHED_PEERS);

  const trusts = (address: string): boolean => {
    const cached = cache.get(address);
    if (cached !== undefined) return cached;
    const family = isIP(address);
    const trusted = family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
    cache.set(address, trusted);
    return trusted;
  };

  return {
    trusts,
    clientOf: (forwardedFor, peer) => {
      let client = peer;
      const chain = forwardedFor ?? "";
      let end = forwardedFor === undefined ? -1 : chain.length;
      for (let hop = 0; end >= 0 && hop < MAX_HOPS && trusts(client); hop++) {
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

/** Some proxies append a port, and then enclose an IPv6 address in brackets. */
function addressIn(entry: string): string | undefined {
  if (isIP(entry) !== 0) return entry;
  const address = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(entry)?.slice(1).find(Boolean) ?? "";
  return isIP(address) === 0 ? undefined : address;
}
