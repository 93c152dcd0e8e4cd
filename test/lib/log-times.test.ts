import t from "tap";
import { shortenTimes } from "../../lib/log-times.ts";

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
