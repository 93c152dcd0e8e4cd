import { Readable } from "node:stream";
import type { FastifyReply } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { createFairSlots } from "../../lib/fair-slots.ts";
import { clientAbortSignal } from "./api-error.ts";
import type { Condition, Listing } from "../store/listing.ts";
import type { EntityDetail } from "./entity-json.ts";

/** What a list route answers. */
export type ListRows = {
  userId: string;
  /** The requested number of rows; undefined or 0: all. */
  limit: number | undefined;
  /** The rows' ids, in order. */
  ids(): string[];
  rows(ids: readonly string[]): object[];
};

export type SendList = (reply: FastifyReply, source: ListRows) => Promise<unknown>;

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

  async function* pieces(ids: readonly string[], rows: ListRows["rows"]): AsyncGenerator<string> {
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

  const stream = (reply: FastifyReply, ids: readonly string[], rows: ListRows["rows"]) =>
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
    slots.run(userId, clientAbortSignal(reply), enter).catch(entered.reject);
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

export type ListQuery = { text?: string; limit?: number; page?: number; order?: string; include?: string };

/** `include=short` is ours; what clients send there otherwise asks for more, and everything is included. */
export function detailOf({ include }: ListQuery): EntityDetail {
  return include === "short" ? "short" : "cut";
}

/** A field by which a list can be filtered and ordered: its column, and how a client's word for a value is stored, undefined where it is none. */
export type ListField = { column: string; stored?: (word: string) => string | number | undefined };
export type ListFields = Readonly<Record<string, ListField>>;

/** Those which `text` looks in where it is a bare word. */
const WORD_COLUMNS = ["name", "friendly_name"];
/** A filter is what somebody typed, or what a plugin put together from two or three names. */
const MOST_CONDITIONS = 10;

/** What of a list was asked for. Faults: REQUEST_INVALID for a field that the list does not have. */
export function parseListing(query: ListQuery, fields: ListFields): Listing {
  const { limit, page, order } = query;
  const where = parseFilter(query.text ?? "", fields);
  return {
    where,
    nameFirst: where.find(({ holds }) => holds === "contains")?.value.toString(),
    ...(order ? { order: readOrder(order, fields) } : {}),
    // Pages count from 1, and clients send 1 for their page 0 too.
    ...(limit ? { limit, offset: (Math.max(page ?? 1, 1) - 1) * limit } : {}),
  };
}

/**
 * `text` is a bare word, to be found in a name in whatever case, or comparisons joined by `and`: `name = "value"`, `status != "error"`.
 * Clients encode it twice.
 */
export function parseFilter(text: string, fields: ListFields): Condition[] {
  const said = decodedAgain(text).trim();
  if (said === "") return [];
  return readComparisons(said, fields) ?? [{ columns: WORD_COLUMNS, holds: "contains", value: said }];
}

const COMPARISON = /^\s*(\w+)\s*(=|!=)\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))\s*(?:$|\band\s+(?=\S))/i;

/** Undefined for what is no comparison: then it is looked for as it stands. */
function readComparisons(text: string, fields: ListFields): Condition[] | undefined {
  const found: Condition[] = [];
  for (let rest = text; rest !== "";) {
    const match = COMPARISON.exec(rest);
    if (!match) return undefined;
    const [whole, name = "", operator, double, single, bare] = match;
    found.push(compare(fieldOf(fields, name), operator === "=" ? "is" : "isNot", double ?? single ?? bare ?? ""));
    rest = rest.slice(whole.length);
  }
  if (found.length > MOST_CONDITIONS) throw new Fault("REQUEST_INVALID", `A filter has at most ${MOST_CONDITIONS} conditions.`);
  return found;
}

/** What no value is ever called equals none, so nothing is found rather than something else. */
function compare({ column, stored }: ListField, holds: "is" | "isNot", word: string): Condition {
  return { columns: [column], holds, value: (stored ? stored(word) : word) ?? "" };
}

/** The query's own encoding is gone already; text that was encoded only once and holds a `%` stays as it is. */
function decodedAgain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function readOrder(order: string, fields: ListFields): NonNullable<Listing["order"]> {
  const descending = order.startsWith("!");
  return { column: fieldOf(fields, descending ? order.slice(1) : order).column, descending };
}

function fieldOf(fields: ListFields, name: string): ListField {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field)
    throw new Fault("REQUEST_INVALID", `There is no field ${JSON.stringify(name.slice(0, 100))} here; there are ${Object.keys(fields).join(", ")}.`);
  return field;
}

/** From a client's words for states to the stored ones. */
export function stateOf(words: Readonly<Record<string, string>>): (word: string) => string | undefined {
  const states = new Map(Object.entries(words).map(([state, word]) => [word, state]));
  return (word) => states.get(word.toLowerCase());
}

/** From a date as clients see it to epoch milliseconds. */
export function momentOf(date: string): number | undefined {
  const moment = Date.parse(date);
  return Number.isNaN(moment) ? undefined : moment;
}
