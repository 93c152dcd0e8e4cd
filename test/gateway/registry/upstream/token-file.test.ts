import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openTokenFile } from "../../../../gateway/registry/upstream/token-file.ts";
import { openLog } from "../../../../lib/log.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";

t.test("many reads take no place from pushes", async (t) => {
  const path = join(tempFolder(t), "registry-token");
  const file = openTokenFile(path, { clock: systemClock(), log: openLog({ level: "silent", name: "test" }) });
  const pushing = ["repository:a:pull,push", "repository:a:pull,push,repository:b:pull", "*", "registry:catalog:*"];
  for (const scope of pushing) file.keep(scope, "Bearer x", 60_000);
  for (let n = 0; n < 200; n++) file.keep(`repository:${n}:pull repository:b:pull`, "Bearer x", 60_000);
  await file.close();
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  t.equal(lines.length, 100);
  for (const scope of pushing) t.ok(lines.some((line) => line.startsWith(`${scope} `)), scope); // prettier-ignore
  t.ok(lines.some((line) => line.startsWith("repository:199:pull,repository:b:pull ")), "of those who read, the last are there"); // prettier-ignore
});
