import type { HeaderEdits, HeaderLine } from "../decision.ts";

/** What belongs to one connection and never travels on (RFC 9110 §7.6.1), in lower case. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Naming these in `Connection` would change what the message is, so it does not make them hop-by-hop. */
const NEVER_NAMED = new Set(["host", "content-length"]);

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
    for (const named of value.toLowerCase().split(",")) if (!NEVER_NAMED.has(named.trim())) dropped.add(named.trim());
  }
  const kept = lines.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !dropped.has(name.toLowerCase()));
  return [...kept, ...edits.add];
}

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
