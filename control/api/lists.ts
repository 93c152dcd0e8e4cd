import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { createFairSlots } from "../../lib/fair-slots.ts";
import { clientGone } from "./client-gone.ts";

/** What a list route answers. */
export type ListSource = {
  userId: string;
  /** The requested number of rows; undefined or 0: all. */
  limit: number | undefined;
  /** The rows' ids, in order. */
  ids(): string[];
  rows(ids: readonly string[]): object[];
};

export type SendList = (reply: FastifyReply, source: ListSource) => Promise<unknown>;

/** Rows of one piece: at most 800 KB of text, read and written in some milliseconds. */
const PIECE = 50;
/** A list of more rows is a long one: a user gets one of these at a time. */
const LONG_LIST = 1_000;
const LONG_LISTS = { slots: 256, slotsPerUser: 1, waiting: 512, waitingPerUser: 64 };
const RETRY_MS = 5_000;

/**
 * Sends arrays of entities without holding up other requests. One piece of one list is made in each turn of the event loop, as its client takes
 * it; of the lists in progress each makes the next one in turn. Faults: LISTS_FULL.
 */
export function createSendList(): SendList {
  const slots = createFairSlots({
    ...LONG_LISTS,
    full: (ofUser) =>
      new Fault(
        "LISTS_FULL",
        `${ofUser ? "You are" : "Others are"} reading as many long lists as may be at once: ask for pages (limit=100&page=1).`,
        {
          retryAfterMs: RETRY_MS,
        },
      ),
  });
  let last: Promise<unknown> = Promise.resolve();
  /** Resolves in a turn of the event loop in which no other list does any work. */
  const ownTurn = (): Promise<unknown> => (last = last.then(() => new Promise(setImmediate)));

  async function* pieces(ids: readonly string[], rows: ListSource["rows"]): AsyncGenerator<string> {
    let before = "[";
    for (let from = 0; from < ids.length; from += PIECE) {
      await ownTurn();
      const texts = rows(ids.slice(from, from + PIECE)).map((row) => JSON.stringify(row));
      if (texts.length === 0) continue;
      yield before + texts.join(",");
      before = ",";
    }
    yield before === "[" ? "[]" : "]";
  }

  const stream = (reply: FastifyReply, ids: readonly string[], rows: ListSource["rows"]) =>
    reply.type("application/json; charset=utf-8").send(Readable.from(pieces(ids, rows)));

  return async (reply, { userId, limit, ids, rows }) => {
    if (limit !== undefined && limit > 0 && limit <= LONG_LIST) {
      await ownTurn();
      const found = ids();
      return found.length <= PIECE ? rows(found) : stream(reply, found, rows);
    }
    const entered = Promise.withResolvers<void>();
    const sent = Promise.withResolvers<void>();
    const enter = () => {
      entered.resolve();
      return sent.promise;
    };
    slots.run(userId, clientGone(reply), enter).catch(entered.reject);
    await entered.promise;
    try {
      await ownTurn();
      const found = ids();
      if (found.length > LONG_LIST && !reply.raw.destroyed) reply.raw.once("close", sent.resolve);
      else sent.resolve();
      return found.length <= PIECE ? rows(found) : stream(reply, found, rows);
    } catch (error) {
      sent.resolve();
      throw error;
    }
  };
}
