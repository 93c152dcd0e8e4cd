import { setsCookie } from "../../lib/cookies.ts";
import type { HeaderEdits, HeaderLine } from "../decision.ts";
import { HOP_BY_HOP, mayBeNamed } from "../hop-by-hop.ts";

/** Node takes bodies out of their chunks and puts them into new ones. */
const OF_THE_BODY = new Set(["trailer", "transfer-encoding"]);

/** Node's flat list of names and values, as lines. */
export function linesOf(rawHeaders: readonly string[]): HeaderLine[] {
  const lines: HeaderLine[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) lines.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  return lines;
}

/** The names in Node's flat list, in lower case. */
export function namesOf(rawHeaders: readonly string[]): string[] {
  return linesOf(rawHeaders).map(([name]) => name.toLowerCase());
}

/** The lines that travel on, in their own order and case, after the edits. */
export function travelling(rawHeaders: readonly string[], edits: HeaderEdits): HeaderLine[] {
  const lines = linesOf(rawHeaders);
  const dropped = new Set(edits.remove);
  for (const [name, value] of lines) {
    if (name.toLowerCase() !== "connection") continue;
    for (const named of value.toLowerCase().split(",")) if (mayBeNamed(named.trim())) dropped.add(named.trim());
  }
  const kept = lines.filter(
    ([name, value]) =>
      !HOP_BY_HOP.has(name.toLowerCase()) && !OF_THE_BODY.has(name.toLowerCase()) && !dropped.has(name.toLowerCase()) && !plants(edits, name, value),
  );
  return [...kept, ...edits.add];
}

/** Whether this line sets a cookie that the edits remove. */
export function plants({ removeCookies }: HeaderEdits, name: string, value: string): boolean {
  return removeCookies !== undefined && name.length === SET_COOKIE.length && name.toLowerCase() === SET_COOKIE && setsCookie(value, removeCookies);
}

const SET_COOKIE = "set-cookie";

/** Lines grouped by name, as Node's `setHeader` wants repeated ones; the first spelling of a name wins. */
export function grouped(lines: readonly HeaderLine[]): [name: string, values: string[]][] {
  const groups = new Map<string, [string, string[]]>();
  for (const [name, value] of lines) {
    const group = groups.get(name.toLowerCase());
    if (group === undefined) groups.set(name.toLowerCase(), [name, [value]]);
    else group[1].push(value);
  }
  return [...groups.values()];
}
