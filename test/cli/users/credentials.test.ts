import t from "tap";
import { readInput, parsePairs } from "../../../cli/users/credentials.ts";
import { openStand, packageOf } from "../../program/rights/fixtures/stand.ts";
import { type Typed, typeBerth } from "../fixtures/type-berth.ts";

async function* typed(text: string) {
  // In pieces that split a character.
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3);
}

t.test("values are read as JSON or as lines, and what cannot be is refused without a value in the sentence", async (t) => {
  const values = { login: "ä", password: "a=b" };
  t.same(await readInput(typed('{"login":"ä","password":"a=b"}\n')), values);
  t.same(await readInput(typed("login=ä\r\npassword=a=b\n\n")), values);
  t.same(parsePairs(["login=ä", "password=a=b"]), values);
  for (const input of ["", '{"password":"hunter2"', "login=a\nhunter2", "=hunter2", `a=${"hunter2".repeat(40_000)}`]) {
    const error: unknown = await readInput(typed(input)).catch((refused: unknown) => refused);
    t.match(error, { code: "SETTINGS_INVALID", message: /./ }, input.slice(0, 20));
    t.notMatch((error as Error).message, /hunter2/);
  }
});

t.test("credentials are set, listed, removed and sealed anew at a command line, which never shows a value", async (t) => {
  const { env, publish, berth } = await openStand(t);
  await publish("@scope/vault", packageOf("@scope/vault", ["one"]), { authorization: `Dev ${berth.key}` });
  const all: Typed[] = [];
  const run = async (args: string[], input?: string) => {
    const typed = await typeBerth(["credentials", ...args], { env, input });
    all.push(typed);
    return typed;
  };
  t.match(await run(["set", "@scope/vault"], '{"login":"anna","password":"hunter2"}'), { code: 0 });
  t.match(await run(["set", "@scope/vault", "-"], "token=hunter2\n"), { code: 0 });
  t.match(await run(["set", "@scope/vault", "more=hunter2"]), { code: 0 });
  const names = async () =>
    Object.keys((JSON.parse((await run(["list", "@scope/vault", "--json"])).stdout) as { parameters: object }).parameters).toSorted();
  t.same(await names(), ["login", "more", "password", "token"]);
  t.match(await run(["list", "@scope/vault"]), { code: 0, stdout: /^ {2}password = \*{3}$/m });
  t.match(await run(["remove", "@scope/vault", "login", "more"]), { code: 0 });
  t.same(await names(), ["password", "token"]);
  t.match(await run(["rotate"]), { code: 0, stdout: /now; \d+ credentials/ });
  for (const args of [[], ["sing"], ["list"], ["set"], ["set", "demo", "hunter2"], ["rotate", "demo"], ["list", "demo", "more"]])
    t.match(await run(args), { code: 2, stdout: "" }, args.join(" "));
  t.notMatch(JSON.stringify(all), /hunter2/);
});
