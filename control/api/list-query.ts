import { Fault } from "../../fault.ts";

export type ListQuery = { text?: string; limit?: number; page?: number; order?: string; include?: string };

/** The fields by which a list can be filtered and ordered. */
export type Fields<T> = Readonly<Record<string, (entity: T) => string | number>>;

/** Those which `text` looks in where it is a bare word. */
const WORD_FIELDS = ["name", "friendlyName"];

/** What of a list was asked for; `page` counts from 0. Faults: REQUEST_INVALID for a field that the list does not have. */
export function listed<T>(entities: readonly T[], query: ListQuery, fields: Fields<T>): T[] {
  const found = entities.filter(readText(query.text ?? "", fields));
  const ordered = query.order ? found.toSorted(readOrder(query.order, fields)) : found;
  const { limit, page } = query;
  return limit ? ordered.slice((page ?? 0) * limit, ((page ?? 0) + 1) * limit) : ordered;
}

/** `text` is a bare word, to be found in a name in whatever case, or `field = "value"`. Clients encode it twice. */
export function readText<T>(text: string, fields: Fields<T>): (entity: T) => boolean {
  const said = decodedAgain(text).trim();
  const [, name, quoted] = /^(\w+)\s*=\s*(".*"|'.*')$/s.exec(said) ?? [];
  if (name !== undefined && quoted !== undefined) {
    const field = fieldOf(fields, name);
    const value = quoted.slice(1, -1).toLowerCase();
    return (entity) => String(field(entity)).toLowerCase() === value;
  }
  const word = said.toLowerCase();
  return (entity) => WORD_FIELDS.some((field) => fields[field] !== undefined && String(fields[field](entity)).toLowerCase().includes(word));
}

/** The query's own encoding is gone already; text that was encoded only once and holds a `%` stays as it is. */
function decodedAgain(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function readOrder<T>(order: string, fields: Fields<T>): (a: T, b: T) => number {
  const descending = order.startsWith("!");
  const field = fieldOf(fields, descending ? order.slice(1) : order);
  const compare = (a: T, b: T) => {
    const [left, right] = [field(a), field(b)];
    return left < right ? -1 : left > right ? 1 : 0;
  };
  return descending ? (a, b) => compare(b, a) : compare;
}

function fieldOf<T>(fields: Fields<T>, name: string): (entity: T) => string | number {
  const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (!field)
    throw new Fault("REQUEST_INVALID", `There is no field ${JSON.stringify(name.slice(0, 100))} here; there are ${Object.keys(fields).join(", ")}.`);
  return field;
}
