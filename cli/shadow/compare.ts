import type { ProxyResponse, RecordedRequest } from "./play.ts";
import { Fault } from "../../lib/fault.ts";

/** `of` is `status`, `header <name>` or `body`; a missing header is undefined. */
export type Difference = { of: string; first: string | undefined; second: string | undefined };

/** Hop-by-hop headers, which are not the registry's. */
const OF_THE_CONNECTION = new Set(["connection", "keep-alive"]);

/** Their values always differ: only their presence is compared. */
const VOLATILE = new Set(["date", "docker-upload-uuid", "x-request-id"]);

/** Replaces values that differ in every response, in this order. */
const NORMALIZATIONS: readonly (readonly [pattern: RegExp, by: string])[] = [
  [/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gi, "{uuid}"],
  [/(_state=)[^&"\s>]+/g, "$1{state}"],
  [/eyJ[\w-]+\.[\w-]+\.[\w-]+/g, "{token}"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, "{time}"],
];

/** The differences between two proxies' responses to one request, after normalization. */
export function compareResponses(
  first: { came: ProxyResponse; at: ProxyLocation },
  second: { came: ProxyResponse; at: ProxyLocation },
): Difference[] {
  const collected: Difference[] = [];
  const look = (of: string, one: string | undefined, other: string | undefined) => {
    if (one !== other) collected.push({ of, first: one, second: other });
  };
  look("status", String(first.came.status), String(second.came.status));
  const [one, other] = [headersOf(first.came, first.at), headersOf(second.came, second.at)];
  for (const name of [...new Set([...one.keys(), ...other.keys()])].toSorted()) look(`header ${name}`, one.get(name), other.get(name));
  look("body", normalize(first.came.body, first.at), normalize(second.came.body, second.at));
  return collected;
}

type ProxyLocation = { base: string; repository: string };

function headersOf({ headers }: ProxyResponse, at: ProxyLocation): Map<string, string> {
  const collected = new Map<string, string>();
  for (const [name, value] of headers) {
    if (OF_THE_CONNECTION.has(name)) continue;
    const normalized = VOLATILE.has(name) ? "{any}" : normalize(value, at);
    const before = collected.get(name);
    collected.set(name, before === undefined ? normalized : `${before}, ${normalized}`);
  }
  return collected;
}

function normalize(text: string, { base, repository }: ProxyLocation): string {
  const { origin, host } = new URL(base);
  let normalized = text.replaceAll(origin, "{here}").replaceAll(host, "{host}").replaceAll(repository, "{repository}");
  for (const [pattern, by] of NORMALIZATIONS) normalized = normalized.replace(pattern, by);
  return normalized;
}

/** An expected difference and its reason. All patterns must match; `first` and `second` are the values of each side, empty if missing. */
export type KnownDifference = { of: string; requests?: string; first?: string; second?: string; reason: string };

const NAMES = ["of", "requests", "first", "second", "reason"];

/** Reads a JSON array. Faults: SETTINGS_INVALID. */
export function parseKnownDifferences(text: string): KnownDifference[] {
  try {
    const collected = JSON.parse(text) as KnownDifference[];
    for (const one of collected) {
      if (Object.entries(one).some(([name, value]) => !NAMES.includes(name) || typeof value !== "string"))
        throw new Error(`${JSON.stringify(one)} is no known difference`);
      if (one.of === undefined || (one.reason ?? "") === "") throw new Error(`${JSON.stringify(one)} lacks "of" or "reason"`);
      for (const pattern of [one.of, one.requests, one.first, one.second]) "".match(new RegExp(pattern ?? ""));
    }
    return collected;
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The known differences cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

/** The known difference that matches. */
export function findExplanation(
  known: readonly KnownDifference[],
  request: RecordedRequest,
  { of, first, second }: Difference,
): KnownDifference | undefined {
  const fits = (pattern: string | undefined, text: string) => pattern === undefined || new RegExp(`^(?:${pattern})$`, "s").test(text);
  return known.find(
    (one) =>
      fits(one.of, of) && fits(one.requests, `${request.method} ${request.path}`) && fits(one.first, first ?? "") && fits(one.second, second ?? ""),
  );
}
