import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { FeedLine, OpenExchangesReply } from "../../gateway/contract.ts";

/** The open requests of one gateway; `answer` is undefined if it did not answer in time. */
export type GatewayOpenRequests = { gateway: string; answer: Pick<OpenExchangesReply, "count" | "open"> | undefined };

export type GatewayQueries = {
  add(gateway: string, send: (line: FeedLine) => void): void;
  remove(gateway: string): void;
  /** How many gateways are connected. */
  count(): number;
  reply(answer: OpenExchangesReply): void;
  /** Asks every gateway for the open requests of a container. Concurrent calls for one container share a query. Faults: GATEWAYS_BUSY. */
  openRequests(id: string): Promise<GatewayOpenRequests[]>;
};

/** A gateway answers from memory. */
const TIMEOUT_MS = 1_000;
/** Concurrent queries. */
const MOST_QUERIES = 32;

type PendingQuery = { missing: Set<string>; found: GatewayOpenRequests[]; finish(): void };

/** Control's queries to its gateways over the feed, on demand only. */
export function createGatewayQueries(clock: Clock): GatewayQueries {
  const gateways = new Map<string, (line: FeedLine) => void>();
  const queries = new Map<number, PendingQuery>();
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
        queries.delete(number);
        sharing.delete(id);
        resolve(ask.found);
      },
    };
    const cancel = clock.after(TIMEOUT_MS, () => {
      for (const gateway of ask.missing) settle(ask, gateway, undefined);
    });
    queries.set(number, ask);
    sharing.set(id, promise);
    if (ask.missing.size === 0) ask.finish();
    for (const send of gateways.values()) send({ kind: "ask", ask: number, id });
    return promise;
  };

  return {
    add: (gateway, send) => void gateways.set(gateway, send),
    count: () => gateways.size,
    remove: (gateway) => {
      gateways.delete(gateway);
      for (const ask of queries.values()) settle(ask, gateway, { count: 0, open: [] });
    },
    reply: ({ ask, gateway, count, open }) => {
      const query = queries.get(ask);
      if (query) settle(query, gateway, { count, open });
    },
    openRequests: async (id) => {
      const shared = sharing.get(id);
      if (shared) return shared;
      if (queries.size >= MOST_QUERIES)
        throw new Fault("GATEWAYS_BUSY", "The gateways answer too many queries at the moment. Try again in a second.", { retryAfterMs: TIMEOUT_MS });
      return begin(id);
    },
  };
}
