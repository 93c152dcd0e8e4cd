import type { FastifyInstance } from "fastify";
import type { Clock } from "../../lib/clock.ts";
import { UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { headerOf } from "./sign-in.ts";

export type UntrustedProxies = {
  /** Their addresses, the last one seen first. */
  addresses(): string[];
};

const MOST = 20;
const KEPT_MS = 24 * 3_600_000;
const LONGEST_ADDRESS = 64;

/**
 * Remembers which peers send forwarding headers and are not listed in `BERTH_TRUSTED_PROXIES`. Where such a peer is a load balancer, all clients behind it are one
 * address to the limits of sign-in, the audit log and the access log. In memory, of the last day.
 */
export function watchUntrustedProxies(app: FastifyInstance, clock: Clock): UntrustedProxies {
  const seen = new Map<string, number>();
  app.addHook("onRequest", async (request) => {
    const address = headerOf(request.headers)(UNTRUSTED_PROXY_HEADER)?.slice(0, LONGEST_ADDRESS);
    if (address === undefined) return;
    // Last in the map is who was seen last.
    seen.delete(address);
    seen.set(address, clock.monotonic());
    const [oldest] = seen.keys();
    if (seen.size > MOST && oldest !== undefined) seen.delete(oldest);
  });
  return {
    addresses: () =>
      [...seen]
        .filter(([, at]) => clock.monotonic() - at <= KEPT_MS)
        .map(([address]) => address)
        .toReversed(),
  };
}
