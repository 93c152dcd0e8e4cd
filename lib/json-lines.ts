import { StringDecoder } from "node:string_decoder";

/** The engine's lines are a few hundred bytes; one this long is not a line of ours. */
const LONGEST_LINE = 1024 * 1024;

/** One value per line of a stream, taken to be what the engine documents; what is not JSON is passed over. */
export async function* jsonLines<T>(stream: AsyncIterable<Buffer>): AsyncGenerator<T> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.write(chunk);
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LONGEST_LINE) rest = "";
    for (const line of lines) {
      if (line.trim() === "") continue;
      try {
        yield JSON.parse(line) as T;
      } catch {}
    }
  }
}
