import { Fault } from "./fault.ts";

/** Undefined: the text is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Ten times as many as the largest requests of clients have; parsing them takes a few ms. */
const MOST_BODY_VALUES = 20_000;

/** A body of 1 MiB may have a million. Faults: REQUEST_INVALID. */
export function refuseManyValues(body: string): void {
  if (hasMoreValues(body, MOST_BODY_VALUES))
    throw new Fault("REQUEST_INVALID", `The body has more than ${MOST_BODY_VALUES} texts, objects and lists: send fewer.`);
}

/** The JSON of a request's body. No error repeats its text. Faults: REQUEST_INVALID. */
export function parseBody(body: string): unknown {
  refuseManyValues(body);
  try {
    return JSON.parse(body);
  } catch {
    throw new Fault("REQUEST_INVALID", "The body is not JSON.");
  }
}

/** Strings, objects and arrays, counted without parsing: 4 MiB take a few ms. `JSON.parse` needs up to 170 ms for one MiB of them. */
export function hasMoreValues(text: string, most: number): boolean {
  // Fewer bytes cannot hold more.
  if (text.length <= most) return false;
  let values = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at++;
    else if (code === QUOTE) {
      isInString = !isInString;
      if (isInString) values++;
    } else if (!isInString && (code === BRACE || code === BRACKET)) values++;
    if (values > most) return true;
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;
const BRACKET = 0x5b;
