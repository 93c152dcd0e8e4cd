import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { DEMO_FOLDER, publishDemo } from "../../conf/demo.ts";
import { systemClock } from "../../lib/clock.ts";
import { startBerth } from "../fixtures/berth.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

t.test("the client of the quick start runs as it is written", async (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/quick-start.md"), "utf8");
  const [, client = ""] = /```js\n([^]*?)```/.exec(page) ?? [];
  const folder = tempFolder(t);
  writeFileSync(join(folder, "call.mjs"), client);
  const berth = await startBerth({ data: tempFolder(t), env: { BERTH_DRIVER: "process" } });
  t.teardown(() => berth.stop());
  const signal = new AbortController().signal;
  await publishDemo({ base: berth.base, devKey: berth.key, folder: DEMO_FOLDER, clock: systemClock(), signal });
  const run = async (key: string) =>
    promisify(execFile)(process.execPath, [join(folder, "call.mjs")], { env: { API: berth.api, KEY: key } }).then(
      ({ stdout }) => stdout,
      (error: { stderr: string }) => error.stderr,
    );
  t.match(await run(berth.key), /^\{ result: 16 \} .*boot/);
  t.match(await run(berth.key), "{ result: 16 } it ran already");
  t.match(await run("wrong"), /Sign-in failed: The developer key is not valid/);
});
