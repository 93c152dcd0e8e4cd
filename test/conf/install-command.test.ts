import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tempFolder } from "../fixtures/temp-folder.ts";

const ROOT = join(import.meta.dirname, "../..");
const SCRIPT = join(ROOT, "conf/install-command.sh");

/** Runs the script as it runs for a user whose folders these are. */
function install(home: string, args: string[] = []) {
  const [bin, share] = [join(home, "bin"), join(home, "share")];
  const path = `${bin}:${process.env["PATH"]}`;
  const { status, stdout, stderr } = spawnSync("sh", [SCRIPT, ...args], {
    encoding: "utf8",
    env: { PATH: path, HOME: home, INSTALL_BIN: bin, INSTALL_SHARE: share },
  });
  return { code: status, output: stdout + stderr, bin, share, path };
}

t.test("one script puts the command, its manual page and completions where shells find them, and removes them", async (t) => {
  const home = tempFolder(t);
  const { code, output, bin, share, path } = install(home);
  t.equal(code, 0, output);
  t.equal(readlinkSync(join(bin, "berth")), join(ROOT, "berth"));
  const anywhere = spawnSync("sh", ["-c", "cd / && berth version"], { encoding: "utf8", env: { PATH: path } });
  t.match(anywhere.stdout, /^berth \d/);
  t.match(readFileSync(join(share, "man/man1/berth.1"), "utf8"), /^\.TH BERTH 1[^]*\.SH NAME[^]*\\fIcommand\\fR/);
  for (const file of ["bash-completion/completions/berth", "zsh/site-functions/_berth", "fish/vendor_completions.d/berth.fish"])
    t.match(readFileSync(join(share, file), "utf8"), /complete/, file);
  t.match(install(home), { code: 0 }, "again");
  t.match(install(home, ["--remove"]), { code: 0 });
  t.notOk(existsSync(join(bin, "berth")));
});

t.test("a program of that name that is no link stays", async (t) => {
  const home = tempFolder(t);
  mkdirSync(join(home, "bin"));
  writeFileSync(join(home, "bin/berth"), "mine");
  t.match(install(home), { code: 1, output: /nothing was installed/ });
  t.equal(readFileSync(join(home, "bin/berth"), "utf8"), "mine");
});

t.test("a program that does not run is not installed", async (t) => {
  t.match(install(tempFolder(t), ["/bin/false"]), { code: 1, output: /does not run/ });
});
