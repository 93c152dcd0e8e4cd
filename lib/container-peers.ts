import { BlockList, isIPv4, type Server, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import type { Log } from "./log.ts";

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
    const peer = (socket.remoteAddress ?? "").replace(/^::ffff:/i, "");
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
