import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { FeedLine, OpenExchangesReply } from "../../gateway/contract.ts";

/** What one gateway has open; `answer` is undefined where it did not say so in time. */
export type GatewayOpenRequests = { gateway: string; answer: Pick<OpenExchangesReply, "count" | "open"> | undefined };

export type GatewayQueries = {
  add(gateway: string, say: (line: FeedLine) => void): void;
  remove(gateway: string): void;
  /** How many there are. */
  count(): number;
  reply(answer: OpenExchangesReply): void;
  /** Asks every gateway what it has open at a container; those who ask for the same at a time share one question. Faults: GATEWAYS_BUSY. */
  openRequests(id: string): Promise<GatewayOpenRequests[]>;
};

/** A gateway only has to look into its own memory. */
const PATIENCE_MS = 1_000;
/** Questions under way at a time. */
const MOST_ASKS = 32;

type PendingQuery = { missing: Set<string>; found: GatewayOpenRequests[]; finish(): void };

/** Control's questions to its gateways: over the feed, and only while somebody wants to know. */
export function createGatewayQueries(clock: Clock): GatewayQueries {
  const gateways = new Map<string, (line: FeedLine) => void>();
  const asks = new Map<number, PendingQuery>();
  const sharing = new Map<string, Promise<GatewayOpenRequests[]>>();
  let last = 0;

  const settle = (ask: PendingQuery, gateway: string, answer: GatewayOpenRequests["answer"]) => {
    if (!ask.missing.delete(gateway)) return;
    ask.found.push({ gateway, answer });
    if (ask.missing.size === 0) ask.finish();
  };
  const begin = (id: string): Promise<GatewayOpenRequests[]> => {
    const number = ++last;
    const { promise, resolve } = Promise.withResolvers<GatewayOpenRequests[]>();
    const ask: PendingQuery = {
      missing: new Set(gateways.keys()),
      found: [],
      finish: () => {
        cancel();
        asks.delete(number);
        sharing.delete(id);
        resolve(ask.found);
      },
    };
    const cancel = clock.after(PATIENCE_MS, () => {
      for (const gateway of ask.missing) settle(ask, gateway, undefined);
    });
    asks.set(number, ask);
    sharing.set(id, promise);
    if (ask.missing.size === 0) ask.finish();
    for (const say of gateways.values()) say({ kind: "ask", ask: number, id });
    return promise;
  };

  return {
    add: (gateway, say) => void gateways.set(gateway, say),
    count: () => gateways.size,
    remove: (gateway) => {
      gateways.delete(gateway);
      for (const ask of asks.values()) settle(ask, gateway, { count: 0, open: [] });
    },
    reply: ({ ask, gateway, count, open }) => {
      const asked = asks.get(ask);
      if (asked) settle(asked, gateway, { count, open });
    },
    openRequests: async (id) => {
      const shared = sharing.get(id);
      if (shared) return shared;
      if (asks.size >= MOST_ASKS)
        throw new Fault("GATEWAYS_BUSY", "The gateways are being asked about many containers: try again in a moment.", { retryAfterMs: PATIENCE_MS });
      return begin(id);
    },
  };
}
