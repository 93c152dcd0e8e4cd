import t from "tap";
import { createLineSplitter, jsonLines } from "../../lib/split-lines.ts";

t.test("lines come as their last chunk does, also where a chunk ends within a character", async (t) => {
  const splitter = createLineSplitter();
  const bytes = Buffer.from("é\n\nsecond\nrest");
  t.strictSame(splitter.push(bytes.subarray(0, 1)), []);
  t.strictSame(splitter.push(bytes.subarray(1)), ["é", "second"]);
  t.equal(splitter.pending, 4);
  splitter.clear();
  t.strictSame(splitter.push(Buffer.from("x\n")), ["x"]);
});

t.test("what is no JSON, or a line that is too long, is skipped", async (t) => {
  async function* stream() {
    yield Buffer.from('{"a":1}\nno json\n');
    yield Buffer.from('"'.padEnd(1_048_578, "x"));
    yield Buffer.from('\n{"a":2}\n{"a":');
  }
  const values: unknown[] = [];
  for await (const value of jsonLines(stream())) values.push(value);
  t.strictSame(values, [{ a: 1 }, { a: 2 }]);
});
