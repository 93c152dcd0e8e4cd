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
