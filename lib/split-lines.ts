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
