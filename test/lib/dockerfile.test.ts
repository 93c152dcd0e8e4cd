import t from "tap";
import { parseInstructions, readFinalStage } from "../../lib/dockerfile.ts";

const ports = (text: string) => readFinalStage(text).exposed.flatMap((stage) => stage.map(({ ports: range }) => range?.first));
const variable = (text: string, name = "X") => readFinalStage(`FROM a\n${text}`).env.get(name);

t.test("instructions are split as Docker splits them", async (t) => {
  const rows: readonly (readonly [what: string, text: string, instructions: readonly string[]])[] = [
    ["a comment in a continued line", "RUN a \\\n# comment\n\n  b", ["RUN a   b"]],
    ["an escape character before the last one", "RUN a \\\\\nEXPOSE 1", ["RUN a \\\\", "EXPOSE 1"]],
    ["spaces behind the escape character", "EXPOSE 1 \\  \n2", ["EXPOSE 1 2"]],
    ["the escape directive", "# escape=`\nRUN a \\\nEXPOSE 1 `\n2", ["RUN a \\", "EXPOSE 1 2"]],
    ["a directive after a comment is a comment", "# hello\n# escape=`\nRUN a `\nEXPOSE 1", ["RUN a `", "EXPOSE 1"]],
    ["a here-document", "RUN <<EOF cat\nEXPOSE 1\nEOF\nCMD x", ["RUN <<EOF cat", "CMD x"]],
    ["two here-documents", "COPY <<A <<B /x/\nB\nA\nA\nB\nCMD x", ["COPY <<A <<B /x/", "CMD x"]],
    ["a here-document whose end is indented", "RUN <<-'E F'\n\tx\n\tE F\nCMD x", ["RUN <<-'E F'", "CMD x"]],
    ["a here-string is none", "RUN cat <<<EOF\nCMD x", ["RUN cat <<<EOF", "CMD x"]],
    ["a byte order mark and CRLF", "\uFEFFFROM a\r\nRUN b \\\r\n c\r\n", ["FROM a", "RUN b  c"]],
    ["an escape character at the end of the file", "RUN a \\", ["RUN a"]],
  ];
  for (const [what, text, expected] of rows) {
    const { instructions } = parseInstructions(text);
    t.same(
      instructions.map(({ keyword, args }) => `${keyword} ${args}`.trim()),
      expected,
      what,
    );
  }
});

t.test("variables are expanded as Docker expands them", async (t) => {
  const rows: readonly (readonly [text: string, value: string])[] = [
    ["ENV X a b", "a b"],
    ['ENV X="a b" Y=c', "a b"],
    ["ENV X='$Y'", "$Y"],
    ["ENV X=\\$Y", "$Y"],
    ["ENV Y=1\nENV X=${Y}2$Y", "121"],
    ["ENV X=${Y:-${Z:-3}}", "3"],
    ['ENV X="${Y:-a b}"', "a b"],
    ["ENV Y=\nENV X=${Y-3}${Y:-4}", "4"],
    ["ENV Y=1\nENV X=${Y:+5}${Z+6}", "5"],
    ["ENV Y=1\nENV X=${Y:?no}", "1"],
    ["ENV Y=1\nENV Y=2 X=$Y", "1"],
    ["ENV Y=1\nARG Y=2\nENV X=$Y", "1"],
    ["ENV X=5$", "5$"],
  ];
  for (const [text, value] of rows) t.equal(variable(text), value, text);
  t.equal(readFinalStage("ARG V=1\nFROM a\nARG V\nENV X=$V").env.get("X"), "1");
  t.equal(readFinalStage("ARG V=1\nFROM a\nENV X=${V:-2}").env.get("X"), "2", "an ARG before FROM is known where it is declared again");
});

t.test("a stage is found by its name as it was at that line", async (t) => {
  t.same(ports("FROM a AS x\nEXPOSE 1\nFROM x AS y\nEXPOSE 2\nFROM b AS x\nEXPOSE 3\nFROM y"), [2, 1]);
  t.same(ports("ARG BASE=x\nFROM a AS x\nEXPOSE 1\nFROM $BASE\nEXPOSE 2"), [2, 1]);
});

t.test("CMD and ENTRYPOINT of a base", async (t) => {
  t.match(readFinalStage('FROM a AS x\nCMD ["one"]\nFROM x\nENTRYPOINT ["two"]'), { cmd: undefined, entrypoint: '["two"]' });
  t.match(readFinalStage("FROM a AS x\nHEALTHCHECK CMD one\nFROM x\nHEALTHCHECK NONE"), { healthcheck: "NONE" });
  t.match(readFinalStage('FROM a\nCMD ["one"]\nENTRYPOINT ["two"]'), { cmd: '["one"]', entrypoint: '["two"]' });
});
