import t from "tap";
import { plainLogText } from "../../lib/plain-log-text.ts";

t.test("of a log, its text stays, and no escape sequence or control character", async (t) => {
  for (const [log, plain] of [
    ["\u001b[31mERROR\u001b[0m: no licence\n\tat x", "ERROR: no licence\n\tat x"],
    ["\u001b[38;5;208mwarm\u001b[1;4m\u001b[?25l \u001b[2K\u001b[3 q done", "warm  done"],
    ["\u001b]0;a title\u0007one\u001b]8;;https://example.org\u001b\\link\u001b]8;;\u001b\\", "onelink"],
    ["\u001bM\u001b7\u001b(Bup\u0000\u0007\b\u009b", "up"],
    ["10 %\r20 %\r\nend", "10 %\n20 %\nend"],
    ["\u001b", ""],
    ["ends within \u001b[31", "ends within 31"],
    ["\u001b]0;a title without an end\nnext", "0;a title without an end\nnext"],
    ["grüße 😀 \u202e", "grüße 😀 \u202e"],
  ] as const)
    t.equal(plainLogText(log), plain, JSON.stringify(log));
});
