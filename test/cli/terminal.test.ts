import t from "tap";
import { formatTable, wrapText } from "../../cli/terminal.ts";
import { textWidth } from "../../cli/text-width.ts";

const PLAIN = { width: 24, paint: (_colour: unknown, text: string) => text };

t.test("columns are where they are also with wide characters, emoji and combining marks, and no line is longer than the terminal", async (t) => {
  const rows = [
    ["plain", "ok"],
    ["日本語の名前", "ok"],
    ["👩‍🔬 lab", "ok"],
    ["cafe\u0301", "ok"],
  ];
  for (const line of formatTable(["NAME", "STATE"], rows).split("\n").slice(1)) t.equal(textWidth(line.slice(0, line.indexOf("ok"))), 14, line);
  const cut = formatTable(["NAME", "STATE"], [["とても長い日本語のコンテナの名前です", "started"]], PLAIN).split("\n");
  t.equal(cut[1], "とても長い日本…  started");
  t.ok(cut.every((line) => textWidth(line) <= 24));
  t.equal(wrapText("  日本語 日本語 abc", 2, 14), "  日本語\n  日本語 abc");
});

t.test("the columns of a character are those of Unicode's table", async (t) => {
  for (const [text, columns] of [
    ["", 0],
    ["abc", 3],
    ["Ж ß", 3],
    ["ﾊﾝ", 2],
    ["한국", 4],
    ["（）", 4],
    ["🇩🇪", 2],
    ["☀️", 2],
    ["☀", 1],
    ["e\u0301", 1],
    ["a\u200d", 1],
  ] as const)
    t.equal(textWidth(text), columns, text);
});
