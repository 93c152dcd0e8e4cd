import t from "tap";
import { createLineSplitter, jsonLines, shortenTimes } from "../../lib/lines.ts";

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

async function* pieces(...texts: string[]): AsyncGenerator<string> {
  yield* texts;
}
async function all(...texts: string[]): Promise<string> {
  let text = "";
  for await (const piece of shortenTimes(pieces(...texts))) text += piece;
  return text;
}

const LONG = "2026-11-30T03:20:01.123456789Z";
const SHORT = "2026-11-30T03:20:01.123Z";
const TEXT = [`${LONG} first ${LONG} stays\n`, `${LONG} \n`, "no time\n", "\n", `2026-11-30T05:20:01.123+02:00 an offset\n`, `${LONG} the end`].join(
  "",
);
const RESULT = [`${SHORT} first ${LONG} stays\n`, `${SHORT} \n`, "no time\n", "\n", `${SHORT} an offset\n`, `${SHORT} the end`].join("");

t.test("times at the beginnings of lines are written to the millisecond, wherever pieces end", async (t) => {
  t.equal(await all(TEXT), RESULT);
  t.equal(await all(...TEXT), RESULT, "each character alone");
  for (let at = 1; at < TEXT.length; at++) t.equal(await all(TEXT.slice(0, at), TEXT.slice(at)), RESULT, `cut at ${at}`);
  t.equal(await all("x".repeat(1_000), `\n${LONG} y\n`), `${"x".repeat(1_000)}\n${SHORT} y\n`);
  t.equal(await all(LONG), LONG, "a time alone is no whole line");
  t.equal(await all("ends without a space\nx\n", "xy"), "ends without a space\nx\nxy");
});
