import { Fault } from "../../lib/fault.ts";
import type { Difference } from "./compare.ts";
import type { Recorded } from "./requests.ts";

/** Differences that are meant, and why. All of its patterns must fit; `first` and `second` are what each side says, empty for nothing. */
export type Known = { of: string; requests?: string; first?: string; second?: string; reason: string };

const NAMES = ["of", "requests", "first", "second", "reason"];

/** Reads a JSON array. Faults: SETTINGS_INVALID. */
export function readKnown(text: string): Known[] {
  try {
    const found = JSON.parse(text) as Known[];
    for (const one of found) {
      if (Object.entries(one).some(([name, value]) => !NAMES.includes(name) || typeof value !== "string"))
        throw new Error(`${JSON.stringify(one)} is none`);
      if (one.of === undefined || (one.reason ?? "") === "") throw new Error(`${JSON.stringify(one)} lacks "of" or "reason"`);
      for (const pattern of [one.of, one.requests, one.first, one.second]) "".match(new RegExp(pattern ?? ""));
    }
    return found;
  } catch (cause) {
    throw new Fault("SETTINGS_INVALID", `The known differences cannot be read: ${(cause as Error).message}.`, { cause });
  }
}

/** The one that explains a difference. */
export function explains(known: readonly Known[], request: Recorded, { of, first, second }: Difference): Known | undefined {
  const fits = (pattern: string | undefined, text: string) => pattern === undefined || new RegExp(`^(?:${pattern})$`, "s").test(text);
  return known.find(
    (one) =>
      fits(one.of, of) && fits(one.requests, `${request.method} ${request.path}`) && fits(one.first, first ?? "") && fits(one.second, second ?? ""),
  );
}
