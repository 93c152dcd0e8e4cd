import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { ownFile } from "../../lib/own-files.ts";
import { loadTextFile } from "../command-context.ts";
import { defineVerb, requireHttpUrl, type Verbs } from "../command.ts";
import { createPlayer, parseRequests, type ProxyResponse, type RecordedRequest, type RequestPlayer, signsIn } from "./play.ts";

/** Recorded requests of docker and skopeo, and faulty ones. */
export const SAMPLE = ownFile("lua-compat/requests.jsonl");

type ReportedDifference = { number: number; request: RecordedRequest; difference: Difference; known: KnownDifference | undefined };
type ShadowResult = { sent: number; skipped: number; differences: ReportedDifference[] };

/** Sends each request to the first and then to the second proxy. A request that only one side can send is a difference too. */
export async function compareProxies(
  requests: readonly RecordedRequest[],
  knownDifferences: readonly KnownDifference[],
  first: RequestPlayer,
  second: RequestPlayer,
): Promise<ShadowResult> {
  const shadowed: ShadowResult = { sent: 0, skipped: 0, differences: [] };
  for (const [at, request] of requests.entries()) {
    const [one, other] = [await first.play(request), await second.play(request)];
    const differences: Difference[] =
      one && other
        ? compareResponses({ came: one, at: first }, { came: other, at: second })
        : one || other
          ? [{ of: "sent", first: one && "yes", second: other && "yes" }]
          : [];
    if (one && other) shadowed.sent++;
    else shadowed.skipped++;
    for (const difference of differences) {
      shadowed.differences.push({ number: at + 1, request, difference, known: findExplanation(knownDifferences, request, difference) });
    }
  }
  return shadowed;
}

type ShadowRun = {
  first: string;
  second: string;
  given: { requests?: string; known?: string; "key-file"?: string; "read-only"?: boolean };
  clock: Clock;
};

/** The report, and the number of unexplained differences. Faults: SETTINGS_INVALID, REGISTRY_UNREACHABLE, DEV_KEY_INVALID. */
async function runShadow({ first, second, given: values, clock }: ShadowRun): Promise<{ report: string; unexplained: number }> {
  const key = values["key-file"] === undefined ? undefined : loadTextFile(values["key-file"]).trim();
  const all = parseRequests(loadTextFile(values.requests ?? SAMPLE));
  const reading = values["read-only"] ? all.filter(({ method }) => method === "GET" || method === "HEAD") : all;
  const requests = key === undefined ? reading.filter((one) => !signsIn(one)) : reading;
  const knownDifferences = values.known === undefined ? [] : parseKnownDifferences(loadTextFile(values.known));
  const shadowed = await compareProxies(
    requests,
    knownDifferences,
    createPlayer({ base: first, repository: "shadow/one", key, clock }),
    createPlayer({ base: second, repository: "shadow/two", key, clock }),
  );
  const unexplained = shadowed.differences.filter((one) => one.known === undefined);
  return { report: formatReport(shadowed, unexplained, reading.length - requests.length), unexplained: unexplained.length };
}

function formatReport({ sent, skipped, differences: found }: ShadowResult, unexplained: ReportedDifference[], signIn: number): string {
  const lines = unexplained.flatMap(({ number, request, difference: { of, first, second } }) => [
    `${number}  ${request.method} ${request.path}${request.says === undefined ? "" : `  (${request.says})`}`,
    `    ${of}`,
    `      first   ${first ?? "-"}`,
    `      second  ${second ?? "-"}`,
  ]);
  const reasons = new Map<KnownDifference, number>();
  for (const { known: knownDifferences } of found) if (knownDifferences) reasons.set(knownDifferences, (reasons.get(knownDifferences) ?? 0) + 1);
  const counted = [...reasons].map(([{ of, reason }, count]) => `${String(count).padStart(5)}  ${of}: ${reason}`);
  return [
    ...lines,
    ...(counted.length === 0 ? [] : ["Known differences:", ...counted]),
    [
      `${sent} requests compared`,
      ...(skipped === 0 ? [] : [`${skipped} skipped because an earlier request failed`]),
      ...(signIn === 0 ? [] : [`${signIn} skipped because they sign in and --key-file is not set`]),
    ].join(", ") + `; ${unexplained.length} unknown differences.`,
  ].join("\n");
}

/** `berth shadow` fails on unknown differences. */
export const verbs: Verbs = {
  "": defineVerb({
    words: "<url> <url>",
    summary: "send the same requests to two registry proxies, and print every difference between their responses",
    details: "One of the requests has a wrong key. After status 429 berth repeats the request at the time of Retry-After.",
    options: {
      requests: { value: "<file>", summary: "JSON lines; the default is lua-compat/requests.jsonl", completes: "files" },
      known: {
        value: "<file>",
        summary: "expected differences, a JSON array of {of, requests, first, second, reason}",
        completes: "files",
      },
      "key-file": {
        value: "<file>",
        summary: "file with a developer key that may push to shadow/one and shadow/two; without it, requests that sign in are skipped",
        completes: "files",
      },
      "read-only": { summary: "send only GET and HEAD" },
    },
    run: async ({ context, words: [first = "", second = ""], options, screen }) => {
      for (const url of [first, second]) requireHttpUrl(url);
      const { report, unexplained } = await runShadow({ first, second, given: options, clock: context.clock });
      screen.print(report);
      if (unexplained > 0) throw new Fault("ANSWERS_DIFFER", `${unexplained} differences are unknown.`);
    },
  }),
};

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
function findExplanation(
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
