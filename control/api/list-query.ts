import { Fault } from "../../lib/fault.ts";
import type { Condition, Listing } from "../store/listing.ts";
import type { Detail } from "./entity-json.ts";

export type ListQuery = { text?: string; limit?: number; page?: number; order?: string; include?: string };

/** `include=short` is ours; what clients send there otherwise asks for more, and everything is included. */
export function detailOf({ include }: ListQuery): Detail {
  return include === "short" ? "short" : "cut";
}

/** A field by which a list can be filtered and ordered: its column, and how a client's word for a value is stored, undefined where it is none. */
export type Field = { column: string; stored?: (word: string) => string | number | undefined };
export type Fields = Readonly<Record<string, Field>>;

/** Those which `text` looks in where it is a bare word. */
const WORD_COLUMNS = ["name", "friendly_name"];
/** A filter is what somebody typed, or what a plugin put together from two or three names. */
const MOST_CONDITIONS = 10;

/** What of a list was asked for. Faults: REQUEST_INVALID for a field that the list does not have. */
export function readListing(query: ListQuery, fields: Fields): Listing {
  const { limit, page, order } = query;
  const where = readText(query.text ?? "", fields);
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
export function readText(text: string, fields: Fields): Condition[] {
  const said = decodedAgain(text).trim();
  if (said === "") return [];
  return readComparisons(said, fields) ?? [{ columns: WORD_COLUMNS, holds: "contains", value: said }];
}

const COMPARISON = /^\s*(\w+)\s*(=|!=)\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))\s*(?:$|\band\s+(?=\S))/i;

/** Undefined for what is no comparison: then it is looked for as it stands. */
function readComparisons(text: string, fields: Fields): Condition[] | undefined {
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
function compare({ column, stored }: Field, holds: "is" | "isNot", word: string): Condition {
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

function readOrder(order: string, fields: Fields): NonNullable<Listing["order"]> {
  const descending = order.startsWith("!");
  return { column: fieldOf(fields, descending ? order.slice(1) : order).column, descending };
}

function fieldOf(fields: Fields, name: string): Field {
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
