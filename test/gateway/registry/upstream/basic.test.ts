import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openUpstream } from "../../../../gateway/registry/upstream/open-upstream.ts";
import { openTokenFile } from "../../../../gateway/registry/upstream/token-file.ts";
import { openLog, type Log } from "../../../../lib/log.ts";
import { rejectsWith } from "../../../drivers/conformance.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { htpasswd, LOGIN, openDistribution } from "./distribution.ts";
import { push, signal, through } from "./pushed.ts";

const log = openLog({ level: "silent", name: "test" });
const tools = () => ({ clock: systemClock(), log, signal: signal() });
const settings = { username: undefined, password: undefined, ecrMode: false, awsRegion: undefined };

t.test("in front of a registry that knows names and passwords", async (t) => {
  const { host } = await openDistribution(t, htpasswd);
  const upstream = await openUpstream({ ...settings, ...LOGIN, url: host }, tools());
  t.teardown(() => upstream.close());
  t.match(await push(upstream, "datagrok/x", "1"), /^sha256:/);
  t.equal((await through(upstream, { repository: undefined, actions: ["pull"] }, "/v2/_catalog")).status, 200);
  t.type(upstream.authorization({ repository: "datagrok/x", actions: ["pull"] }, signal()), "string", "at once");
  t.equal(await upstream.refused({ repository: "datagrok/x", actions: ["pull"] }, "Basic realm=x", signal()), undefined, "there is no better one");

  await t.test("without a login nothing is sent, and the registry's refusal is what it is", async (t) => {
    const anonymous = await openUpstream({ ...settings, url: host }, tools());
    t.teardown(() => anonymous.close());
    t.equal(await anonymous.authorization({ repository: "datagrok/x", actions: ["pull"] }, signal()), undefined);
    t.equal(await push(anonymous, "datagrok/x", "1"), 401);
  });
});

t.test("an open registry is sent no credentials it could want, and works", async (t) => {
  const { host } = await openDistribution(t);
  const upstream = await openUpstream({ ...settings, url: `http://${host}/` }, tools());
  t.teardown(() => upstream.close());
  t.match(await push(upstream, "datagrok/x", "1"), /^sha256:/);
});

t.test("a registry that is away is no failure of credentials", async (t) => {
  const upstream = await openUpstream({ ...settings, ...LOGIN, url: "127.0.0.1:1" }, tools());
  t.teardown(() => upstream.close());
  t.match(await upstream.authorization({ repository: "x", actions: ["pull"] }, signal()), /^Basic /);
});

t.test("settings that cannot be right are refused", async (t) => {
  for (const wrong of [{ url: undefined }, { url: "x", username: "me" }, { url: "x", password: "p" }, { url: "x", username: "a:b", password: "p" }]) {
    await rejectsWith(t, "SETTINGS_INVALID", openUpstream({ ...settings, ...wrong }, tools()));
  }
});

t.test("the token file", async (t) => {
  const lines = (path: string) => readFileSync(path, "utf8").trimEnd().split("\n");
  const folder = tempFolder(t);

  await t.test("keeps what others wrote and still lasts, and drops the rest", async (t) => {
    const path = join(folder, "tokens");
    writeFileSync(path, `other 99999999999 Bearer o\nold 1 Bearer x\nnonsense\nmine 99999999999 Bearer before\n`);
    const file = openTokenFile(path, { clock: systemClock(), log });
    file.keep("mine", "Bearer after", 60_000);
    file.keep("a b", "Bearer two", 60_000);
    await file.close();
    const kept = lines(path).map((line) => line.replace(/ \d+ /, " "));
    t.strictSame(kept, ["other Bearer o", "mine Bearer after", "a,b Bearer two"]);
  });

  await t.test("is bounded", async (t) => {
    const path = join(folder, "many");
    const file = openTokenFile(path, { clock: systemClock(), log });
    for (let at = 0; at < 1_000; at++) file.keep(`scope${at}`, "Bearer x", 60_000);
    await file.close();
    t.equal(lines(path).length, 100);
    t.match(lines(path).at(-1), /^scope999 /);
  });

  await t.test("that cannot be written is reported once", async (t) => {
    const messages: string[] = [];
    const write = (_: unknown, sentence: string) => void messages.push(sentence);
    const own: Log = { debug: write, info: write, warn: write, error: write, child: () => own };
    mkdirSync(join(folder, "taken"));
    const file = openTokenFile(join(folder, "taken"), { clock: systemClock(), log: own });
    for (let at = 0; at < 3; at++) {
      file.keep("*", "Basic secret", 60_000);
      await file.close();
    }
    t.equal(messages.length, 1);
    t.notMatch(messages.join(), /secret/);
  });
});
