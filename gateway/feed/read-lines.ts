import { StringDecoder } from "node:string_decoder";
import type { Readable } from "node:stream";

/** Calls `onLine` with each line of a stream; one that grows beyond `limit` characters destroys it. */
export function readLines(stream: Readable, limit: number, onLine: (line: string) => void): void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  stream.on("data", (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") onLine(line);
    if (rest.length > limit) stream.destroy(new Error("a line of the feed is too long"));
  });
}
