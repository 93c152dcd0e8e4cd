import { StringDecoder } from "node:string_decoder";

type LineSplitter = {
  /** The lines that a chunk completes, without empty ones. */
  push(chunk: Buffer): string[];
  /** How many characters wait for the end of their line. */
  readonly pending: number;
  /** Drops what waits. */
  clear(): void;
};

/** Splits a stream of UTF-8 into lines. It bounds nothing: its caller decides how long `pending` may grow. */
export function createLineSplitter(): LineSplitter {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  return {
    push: (chunk) => {
      // Only what is new is searched: searching what waits copies it, for each of the hundreds of chunks of a long line.
      const [first = "", ...more] = decoder.write(chunk).split("\n");
      rest += first;
      const lines: string[] = [];
      for (const next of more) {
        if (rest !== "") lines.push(rest);
        rest = next;
      }
      return lines;
    },
    get pending() {
      return rest.length;
    },
    clear: () => {
      rest = "";
    },
  };
}

/** Longer than any line of a container engine, which has a few hundred bytes. */
const MAX_JSON_LINE = 1_048_576;

/** The JSON value of each line of a stream; a line that is not JSON, or too long, is skipped. */
export async function* jsonLines<T>(stream: AsyncIterable<Buffer>): AsyncGenerator<T> {
  const splitter = createLineSplitter();
  for await (const chunk of stream) {
    for (const line of splitter.push(chunk)) {
      try {
        yield JSON.parse(line) as T;
      } catch {}
    }
    if (splitter.pending > MAX_JSON_LINE) splitter.clear();
  }
}

/** The text of a stream of UTF-8, whose chunks may end within a character. */
export async function* decodeText(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new StringDecoder("utf8");
  for await (const chunk of stream) {
    const text = decoder.write(chunk);
    if (text !== "") yield text;
  }
}

/** Longer than any time: a line whose beginning is longer has none. */
const LONGEST_TIME = 40;

/**
 * Lines that begin with a time and a space, as Docker and Kubernetes write them, to the nanosecond or with an offset: the same with the time as
 * `2026-11-30T03:20:01.123Z`. Pieces may end anywhere.
 */
export async function* shortenTimes(pieces: AsyncIterable<string>): AsyncGenerator<string> {
  let head = "";
  let isInside = false;
  for await (const piece of pieces) {
    const text = head + piece;
    let result = "";
    let at = 0;
    head = "";
    while (at < text.length) {
      if (!isInside) {
        const end = endOfWord(text, at);
        if (end === undefined) {
          head = text.slice(at);
          break;
        }
        result += shorten(text.slice(at, end));
        at = end;
        isInside = true;
      }
      const newline = text.indexOf("\n", at);
      result += text.slice(at, newline === -1 ? text.length : newline + 1);
      at = newline === -1 ? text.length : newline + 1;
      isInside = newline === -1;
    }
    if (result !== "") yield result;
  }
  if (head !== "") yield head;
}

/** Where the first word of a line ends; undefined if that is not known yet. */
function endOfWord(text: string, at: number): number | undefined {
  const longest = Math.min(text.length, at + LONGEST_TIME);
  for (let end = at; end < longest; end++) if (text[end] === " " || text[end] === "\n") return end;
  return longest === text.length ? undefined : longest;
}

/** A text that is no time stays as it is. */
function shorten(time: string): string {
  const ms = /^\d{4}-\d\d-\d\dT\S+$/.test(time) ? Date.parse(time) : Number.NaN;
  return Number.isNaN(ms) ? time : formatTime(ms);
}

/** `ms`: epoch ms. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString();
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ?/;

/** The lines of a log tail as the container wrote them, if it was read with times. */
export function withoutTimes(lines: readonly string[]): string[] {
  return lines.every((line) => TIME.test(line)) ? lines.map((line) => line.replace(TIME, "")) : [...lines];
}
