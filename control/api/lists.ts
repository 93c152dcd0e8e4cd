import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { createFairSlots } from "../../lib/fair-queues.ts";
import { Fault } from "../../lib/fault.ts";
import type { Condition, Listing } from "../store/listing.ts";
import { clientAbortSignal } from "./api-error.ts";
import type { EntityDetail } from "./entities.ts";
import type { ListQuery } from "./schemas.ts";

/** The rows of a list. */
export type ListRows<Row extends object> = {
  userId: string;
  /** The requested number of rows; undefined or 0: all. */
  limit: number | undefined;
  /** The rows' ids, in order. */
  ids(): Promise<string[]>;
  rows(ids: readonly string[]): Promise<Row[]>;
};

/** Returns short lists, and sends others itself. */
export type SendList = <Row extends object>(reply: FastifyReply, source: ListRows<Row>) => Promise<Row[] | undefined>;

/** The rows of one piece: at most 800 KB of text, read and written in some milliseconds. */
const PIECE = 50;
/** A list with more rows is long: a user reads one of these at a time. */
const LONG_LIST = 1_000;
const LONG_LISTS = { slots: 256, slotsPerUser: 1, waiting: 512, waitingPerUser: 64 };
const RETRY_MS = 5_000;

/**
 * Sends arrays of entities without delaying other requests. Each turn of the event loop creates one piece of one list, as fast as its client reads; lists in
 * progress take turns. Faults: LISTS_FULL.
 */
export function createSendList(): SendList {
  const slots = createFairSlots({
    ...LONG_LISTS,
    full: (ofUser) =>
      new Fault(
        "LISTS_FULL",
        `${ofUser ? "You read" : "Other users read"} as many long lists as are allowed at a time. Request pages instead (limit=100&page=1).`,
        {
          retryAfterMs: RETRY_MS,
        },
      ),
  });
  let last: Promise<unknown> = Promise.resolve();
  /** Resolves in a turn of the event loop in which no other list does any work. */
  const ownTurn = (): Promise<unknown> => (last = last.then(() => new Promise(setImmediate)));

  async function* pieces(ids: readonly string[], rows: ListRows<object>["rows"]): AsyncGenerator<string> {
    let before = "[";
    for (let from = 0; from < ids.length; from += PIECE) {
      await ownTurn();
      const texts = (await rows(ids.slice(from, from + PIECE))).map((row) => JSON.stringify(row));
      if (texts.length === 0) continue;
      yield before + texts.join(",");
      before = ",";
    }
    yield before === "[" ? "[]" : "]";
  }

  const stream = (reply: FastifyReply, ids: readonly string[], rows: ListRows<object>["rows"]) =>
    reply.type("application/json; charset=utf-8").send(Readable.from(pieces(ids, rows)));

  return async (reply, { userId, limit, ids, rows }) => {
    if (limit !== undefined && limit > 0 && limit <= LONG_LIST) {
      await ownTurn();
      const listed = await ids();
      return listed.length <= PIECE ? rows(listed) : stream(reply, listed, rows);
    }
    const entered = Promise.withResolvers<void>();
    const sent = Promise.withResolvers<void>();
    const enter = () => {
      entered.resolve();
      return sent.promise;
    };
    slots.run(userId, clientAbortSignal(reply), enter).catch(entered.reject);
    await entered.promise;
    try {
      await ownTurn();
      const listed = await ids();
      if (listed.length > LONG_LIST && !reply.raw.destroyed) reply.raw.once("close", sent.resolve);
      else sent.resolve();
      return listed.length <= PIECE ? await rows(listed) : stream(reply, listed, rows);
    } catch (error) {
      sent.resolve();
      throw error;
    }
  };
}

/** `include=short` is an extension; other values, which clients send, include everything. */
export function detailOf({ include }: ListQuery): EntityDetail {
  return include === "short" ? "short" : "cut";
}

/** A field by which clients filter and order a list: its column, and the stored form of a client's value; undefined: there is no such value. */
export type ListField = { column: string; stored?: (word: string) => string | number | undefined };
export type ListFields = Readonly<Record<string, ListField>>;

/** Where a bare word in `text` is searched. */
const WORD_COLUMNS = ["name", "friendly_name"];
/** Users type filters, and plugins compose them of two or three names. */
const MOST_CONDITIONS = 10;

/** The requested part of a list. Faults: REQUEST_INVALID for a field that the list does not have. */
export function parseListing(query: ListQuery, fields: ListFields): Listing {
  const { limit, page, order } = query;
  const where = parseFilter(query.text ?? "", fields);
  return {
    where,
    nameFirst: where.find(({ holds }) => holds === "contains")?.value.toString(),
    ...(order ? { order: parseOrder(order, fields) } : {}),
    // Pages count from 1, and clients send 1 for their page 0 too.
    ...(limit ? { limit, offset: (Math.max(page ?? 1, 1) - 1) * limit } : {}),
  };
}

/**
 * `text` is a bare word, which matches names in any case, or comparisons joined by `and`: `name = "value"`, `status != "error"`.
 * Clients encode it twice.
 */
function parseFilter(text: string, fields: ListFields): Condition[] {
  const filter = decodeAgain(text).trim();
  if (filter === "") return [];
  return parseComparisons(filter, fields) ?? [{ columns: WORD_COLUMNS, holds: "contains", value: filter }];
}

const COMPARISON = /^\s*(\w+)\s*(=|!=)\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))\s*(?:$|\band\s+(?=\S))/i;

/** Undefined: the text is not a comparison, but a word. */
function parseComparisons(text: string, fields: ListFields): Condition[] | undefined {
  const conditions: Condition[] = [];
  for (let rest = text; rest !== "";) {
    const match = COMPARISON.exec(rest);
    if (!match) return undefined;
    const [whole, name = "", operator, double, single, bare] = match;
    conditions.push(compare(fieldOf(fields, name), operator === "=" ? "is" : "isNot", double ?? single ?? bare ?? ""));
    rest = rest.slice(whole.length);
  }
  if (conditions.length > MOST_CONDITIONS) throw new Fault("REQUEST_INVALID", `A filter has at most ${MOST_CONDITIONS} conditions.`);
  return conditions;
}

/** An unknown value matches nothing. */
function compare({ column, stored }: ListField, holds: "is" | "isNot", word: string): Condition {
  return { columns: [column], holds, value: (stored ? stored(word) : word) ?? "" };
}

/** The query itself is already decoded. Text that was encoded once and contains a `%` stays as it is. */
export function decodeAgain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function parseOrder(order: string, fields: ListFields): NonNullable<Listing["order"]> {
  const descending = order.startsWith("!");
  return { column: fieldOf(fields, descending ? order.slice(1) : order).column, descending };
}

function fieldOf(fields: ListFields, name: string): ListField {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field)
    throw new Fault("REQUEST_INVALID", `There is no field ${JSON.stringify(name.slice(0, 100))} here; there are ${Object.keys(fields).join(", ")}.`);
  return field;
}

/** From a client's names of states to the stored ones. */
export function stateOf(words: Readonly<Record<string, string>>): (word: string) => string | undefined {
  const states = new Map(Object.entries(words).map(([state, word]) => [word, state]));
  return (word) => states.get(word.toLowerCase());
}

/** Nothing happened then. PostgreSQL compares a column of numbers with no text. */
const NO_MOMENT = -1;

/** From a date in a query to epoch milliseconds. */
export function momentOf(date: string): number {
  const moment = Date.parse(date);
  return Number.isNaN(moment) ? NO_MOMENT : moment;
}
