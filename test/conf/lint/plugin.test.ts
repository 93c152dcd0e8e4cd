import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";

const ROOT = join(import.meta.dirname, "../../..");

t.test("the check refuses a regular expression that can take more than linear time", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "berth-lint-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const config = join(folder, "oxlintrc.json");
  writeFileSync(config, JSON.stringify({ jsPlugins: [join(ROOT, "conf/lint/plugin.ts")], rules: { "berth/linear-regexp": "error" } }));
  const lint = (source: string) => {
    const file = join(folder, "source.ts");
    writeFileSync(file, source);
    // The linter is a program of Node, and does not start with the hooks that tap puts into every child's NODE_OPTIONS.
    const linter = ["-u", "NODE_OPTIONS", join(ROOT, "node_modules/.bin/oxlint")];
    return spawnSync("env", [...linter, "-c", config, file], { encoding: "utf8" });
  };
  for (const source of ["/\\s+$/", "/(a+)+b/", "/a*a*$/", 'new RegExp("(x+x+)+y")']) {
    const { status, stdout } = lint(`export const matches = ${source}.test("x");\n`);
    t.equal(status, 1, source);
    t.match(stdout, "linear-regexp", source);
  }
  t.equal(lint('export const matches = /^[a-z]+$/.test("x");\n').status, 0);
});
