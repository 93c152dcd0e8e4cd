import t from "tap";
import type { CallControl } from "../../commands/call-control.ts";
import { runCredentials } from "../../commands/credentials.ts";

/** Runs one command line against a control that answers with the names that it was given. */
async function run(args: string[], input = "") {
  const calls: [method: string, path: string, body: unknown][] = [];
  const hints: string[] = [];
  const call: CallControl = async (method, path, body) => {
    calls.push([method, path, body]);
    return { name: "demo", parameters: Object.fromEntries(Object.keys(body ?? {}).map((name) => [name, "***"])), keyId: "k", resealed: 2 } as never;
  };
  async function* typed() {
    // In pieces that split a character.
    const bytes = Buffer.from(input);
    for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3);
  }
  const said = await runCredentials(args, { call, input: typed(), hint: (sentence) => void hints.push(sentence) });
  return { calls, hints, said };
}

t.test("values are read from standard input, as JSON or as lines, and are not printed", async (t) => {
  for (const [args, input] of [
    [["set", "@scope/demo.pg"], '{"login":"ä","password":"a=b"}\n'],
    [["set", "@scope/demo.pg", "-"], "login=ä\r\npassword=a=b\n\n"],
    [["set", "@scope/demo.pg", "login=ä", "password=a=b"], "not read"],
  ] as const) {
    const { calls, said, hints } = await run([...args], input);
    t.same(calls, [["PATCH", "/credentials/for/%40scope%2Fdemo.pg", { login: "ä", password: "a=b" }]]);
    t.equal(said, "demo:\n  login = ***\n  password = ***");
    t.equal(hints.length, 1);
  }
});

t.test("all or some are removed, and all sealed anew", async (t) => {
  t.same((await run(["list", "demo"])).calls, [["GET", "/credentials/for/demo", undefined]]);
  t.same((await run(["remove", "demo"])).calls, [["DELETE", "/credentials/for/demo", undefined]]);
  t.same((await run(["remove", "demo.pg", "a&b", "c"])).calls, [["DELETE", "/credentials/for/demo.pg?name=a%26b&name=c", undefined]]);
  t.match((await run(["rotate"])).said, /k now; 2 credentials/);
});

t.test("a command line or an input that cannot be is refused without a value in the sentence", async (t) => {
  for (const [args, input] of [
    [[], ""],
    [["sing"], ""],
    [["list"], ""],
    [["list", "demo", "hunter2"], ""],
    [["set"], ""],
    [["set", "demo"], ""],
    [["set", "demo"], '{"password":"hunter2"'],
    [["set", "demo", "=hunter2"], ""],
    [["set", "demo", "login=a", "hunter2"], ""],
    [["set", "demo"], "login=a\nhunter2"],
    [["set", "demo"], `a=${"hunter2".repeat(40_000)}`],
    [["rotate", "demo"], ""],
  ] as const) {
    const error: unknown = await run([...args], input).catch((refused: unknown) => refused);
    t.match(error, { code: "SETTINGS_INVALID", message: /./ }, args.join(" "));
    t.notMatch((error as Error).message, /hunter2/);
  }
});
