import { StringDecoder } from "node:string_decoder";
import type { Readable } from "node:stream";

/** Calls `onLine` with each line of a stream; one that grows beyond `limit` characters destroys it. */
export function readLines(stream: Readable, limit: number, onLine: (line: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    // Only in what is new, since to look through what waits copies it, for each of the hundreds of chunks of a long line.
    const [first = "", ...more] = decoder.write(chunk).split("\n");
    rest += first;
    for (const next of more) {
      if (rest !== "") onLine(rest);
      rest = next;
    }
    if (rest.length > limit) stream.destroy(new Error("a line of the feed is too long"));
  });
}
