import t from "tap";
import { parseVerbArgs, type CommandVerb } from "../../cli/command.ts";

const VERB = {
  words: "<container>",
  summary: "For the test.",
  options: {
    key: { value: "KEY", summary: "a key", short: "k" },
    follow: { summary: "follow", short: "f" },
  },
  run: async () => undefined,
} as unknown as CommandVerb;

const parse = (...args: string[]) => parseVerbArgs("containers", "stop", VERB, args);

t.test("a value that begins with a dash is the option's value: generated keys may begin with one", async (t) => {
  t.match(parse("one", "--key", "-a_b"), { words: ["one"], options: { key: "-a_b" } });
  t.match(parse("--key", "--a_b", "one"), { words: ["one"], options: { key: "--a_b" } });
  t.match(parse("--key", "-", "one"), { words: ["one"], options: { key: "-" } });
  t.match(parse("--key=-a", "one"), { words: ["one"], options: { key: "-a" } });
  t.match(parse("-k", "-3", "one"), { words: ["one"], options: { key: "-3" } });
});

t.test("an option in the place of a value is a forgotten value", async (t) => {
  for (const next of [["--follow"], ["-f"], ["--key=x"], []])
    for (const option of ["--key", "-k"])
      t.throws(
        () => parse("one", option, ...next),
        { code: "SETTINGS_INVALID", message: /^Option .*-k.*[^.]\.\nUsage/ },
        `${option} ${next.join(" ")}`,
      );
});

t.test("words after -- are no options", async (t) => {
  t.match(parse("--", "--key"), { words: ["--key"] });
});
