import { readFileSync } from "node:fs";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import { ownFile } from "../lib/own-files.ts";
import { compare, type Difference, explains, type Known, readKnown } from "./shadow/compare.ts";
import { openPlayer, type Player } from "./shadow/play.ts";
import { type Recorded, readRequests, signsIn } from "./shadow/requests.ts";
import { verb, type Verbs } from "./command.ts";

/** What comes with berth: requests of docker and skopeo, and what they get wrong. */
export const SAMPLE = ownFile("lua-compat/requests.jsonl");

export type Found = { number: number; request: Recorded; difference: Difference; known: Known | undefined };
export type Shadowed = { sent: number; passedOver: number; found: Found[] };

/** Plays each request at the first and then at the second; what one side has no more, since an earlier request failed there, differs too. */
export async function shadow(requests: readonly Recorded[], known: readonly Known[], first: Player, second: Player): Promise<Shadowed> {
  const shadowed: Shadowed = { sent: 0, passedOver: 0, found: [] };
  for (const [at, request] of requests.entries()) {
    const [one, other] = [await first.play(request), await second.play(request)];
    const differences: Difference[] =
      one && other
        ? compare({ came: one, at: first }, { came: other, at: second })
        : one || other
          ? [{ of: "sent", first: one && "yes", second: other && "yes" }]
          : [];
    if (one && other) shadowed.sent++;
    else shadowed.passedOver++;
    for (const difference of differences) {
      shadowed.found.push({ number: at + 1, request, difference, known: explains(known, request, difference) });
    }
  }
  return shadowed;
}

type Asked = {
  first: string;
  second: string;
  given: { requests?: string; known?: string; "key-file"?: string; "read-only"?: boolean };
  clock: Clock;
};

/** What to print, and how many differences nobody has explained. Faults: SETTINGS_INVALID, REGISTRY_UNREACHABLE, DEV_KEY_INVALID. */
async function runShadow({ first, second, given: values, clock }: Asked): Promise<{ report: string; unexplained: number }> {
  const key = values["key-file"] === undefined ? undefined : readText(values["key-file"]).trim();
  const all = readRequests(readText(values.requests ?? SAMPLE));
  const reading = values["read-only"] ? all.filter(({ method }) => method === "GET" || method === "HEAD") : all;
  const requests = key === undefined ? reading.filter((one) => !signsIn(one)) : reading;
  const known = values.known === undefined ? [] : readKnown(readText(values.known));
  const shadowed = await shadow(
    requests,
    known,
    openPlayer({ base: first, repository: "shadow/one", key, clock }),
    openPlayer({ base: second, repository: "shadow/two", key, clock }),
  );
  const unexplained = shadowed.found.filter((one) => one.known === undefined);
  return { report: told(shadowed, unexplained, reading.length - requests.length), unexplained: unexplained.length };
}

function told({ sent, passedOver, found }: Shadowed, unexplained: Found[], signIn: number): string {
  const lines = unexplained.flatMap(({ number, request, difference: { of, first, second } }) => [
    `${number}  ${request.method} ${request.path}${request.says === undefined ? "" : `  (${request.says})`}`,
    `    ${of}`,
    `      first   ${first ?? "-"}`,
    `      second  ${second ?? "-"}`,
  ]);
  const reasons = new Map<Known, number>();
  for (const { known } of found) if (known) reasons.set(known, (reasons.get(known) ?? 0) + 1);
  const counted = [...reasons].map(([{ of, reason }, count]) => `${String(count).padStart(5)}  ${of}: ${reason}`);
  return [
    ...lines,
    ...(counted.length === 0 ? [] : ["Known differences:", ...counted]),
    [
      `${sent} requests compared`,
      ...(passedOver === 0 ? [] : [`${passedOver} passed over since what they need was not there`]),
      ...(signIn === 0 ? [] : [`${signIn} since they sign in and there is no --key-file`]),
    ].join(", ") + `; ${unexplained.length} differences that are not known.`,
  ].join("\n");
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `${path} cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

/** `berth shadow`; differences that are not known make it fail. */
export const verbs: Verbs = {
  "": verb({
    words: "<url> <url>",
    says: "sends the same requests to two registry proxies and prints all in which their answers differ",
    more: "One of the requests shows each side a wrong key. Who has too many of those answers 429: it is asked again when it says so.",
    options: {
      requests: { takes: "<file>", says: "JSON lines; where unset, those of lua-compat/requests.jsonl", completes: "files" },
      known: {
        takes: "<file>",
        says: "differences that are meant, a JSON array of {of, requests, first, second, reason}",
        completes: "files",
      },
      "key-file": {
        takes: "<file>",
        says: "holds a developer key that may push to shadow/one and shadow/two; where unset, what signs in is passed over",
        completes: "files",
      },
      "read-only": { says: "sends GET and HEAD alone" },
    },
    run: async ({ here, words: [first = "", second = ""], given, screen }) => {
      for (const url of [first, second])
        if (!/^https?:\/\//.test(url) || !URL.canParse(url))
          throw new Fault("SETTINGS_INVALID", `${JSON.stringify(url)} is no http or https address.`);
      const { report, unexplained } = await runShadow({ first, second, given, clock: here.clock });
      screen.print(report);
      if (unexplained > 0) throw new Fault("ANSWERS_DIFFER", `${unexplained} differences are not known.`);
    },
  }),
};
