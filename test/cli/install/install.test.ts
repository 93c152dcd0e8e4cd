import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { installFiles, INSTALL_PATHS } from "../../../cli/install/install.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

/** A system with systemd's own units and users, in which systemd looks without being the first process. */
function system(t: Test, groups: string) {
  const root = tempFolder(t);
  mkdirSync(join(root, "etc"));
  writeFileSync(join(root, "etc/group"), groups);
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nberth:x:990:990::/var/lib/berth:/usr/sbin/nologin\n");
  const program = join(root, "program");
  writeFileSync(program, "#!/bin/sh\n");
  mkdirSync(join(root, "usr/lib/systemd"), { recursive: true });
  spawnSync("cp", ["-r", "/usr/lib/systemd/system", join(root, "usr/lib/systemd/")]);
  return { root, program };
}

const analyze = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync("systemd-analyze", args, {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], SYSTEMD_COLORS: "0" },
  });
  return { status, output: stdout + stderr };
};

t.test("systemd finds nothing wrong with the unit, and little that it exposes", async (t) => {
  const { root, program } = system(t, "root:x:0:\ndocker:x:999:\nberth:x:990:\n");
  t.same(installFiles({ root, program }), { hasEngineGroup: true, isFirst: true });
  const verified = analyze("verify", "--man=no", `--root=${root}`, INSTALL_PATHS.unit);
  t.equal(verified.status, 0, verified.output);
  t.notMatch(verified.output, /berth\.service/, verified.output);
  // It runs from 0 to 10; a unit that says nothing has 9.6.
  const exposed = analyze("security", "--offline=yes", "--threshold=20", `--root=${root}`, INSTALL_PATHS.unit);
  t.equal(exposed.status, 0, exposed.output.split("\n").slice(-3).join("\n"));
  t.match(readFileSync(join(root, INSTALL_PATHS.unit), "utf8"), /^SupplementaryGroups=docker$/m);
});

t.test("a mistake in a unit is one that this would find", async (t) => {
  const { root, program } = system(t, "");
  installFiles({ root, program });
  const unit = readFileSync(join(root, INSTALL_PATHS.unit), "utf8");
  writeFileSync(
    join(root, INSTALL_PATHS.unit),
    unit.replace("ProtectSystem=strict", "ProtectSytem=strict").replace(INSTALL_PATHS.program, "/no/such/berth"),
  );
  t.match(analyze("verify", "--man=no", `--root=${root}`, INSTALL_PATHS.unit).output, /ProtectSytem/);
});

t.test("installed again, it has the new program and keeps the administrator's settings", async (t) => {
  const { root, program } = system(t, "root:x:0:\n");
  t.same(installFiles({ root, program }), { hasEngineGroup: false, isFirst: true });
  t.notMatch(readFileSync(join(root, INSTALL_PATHS.unit), "utf8"), /SupplementaryGroups/, "a group that is not there would keep it from starting");
  const settings = join(root, INSTALL_PATHS.settings);
  t.equal(statSync(settings).mode & 0o777, 0o600, "secrets stand in it");
  writeFileSync(settings, "BERTH_HOST=0.0.0.0\n");
  writeFileSync(program, "#!/bin/sh\n# newer\n");
  t.equal(installFiles({ root, program }).isFirst, false);
  t.equal(readFileSync(settings, "utf8"), "BERTH_HOST=0.0.0.0\n");
  t.match(readFileSync(join(root, INSTALL_PATHS.program), "utf8"), /newer/);
  t.equal(statSync(join(root, INSTALL_PATHS.program)).mode & 0o777, 0o755);
});

t.test("the service's user is in the engine's group, whose socket its commands need", async (t) => {
  const install = join(import.meta.dirname, "../../../cli/install/install.ts");
  // Changes of /etc end with this namespace.
  const script = `mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
getent group docker >/dev/null || groupadd --system docker
for time in first again; do "$0" -e 'import(process.argv[1]).then(({ makeUser }) => makeUser({ groups: ["docker"] }))' "$1"; id --name --groups berth; done`;
  const { stdout, stderr, status } = spawnSync("unshare", ["--mount", "sh", "-ec", script, process.execPath, install], { encoding: "utf8" });
  t.same({ status, stdout }, { status: 0, stdout: "berth docker\nberth docker\n" }, stderr);
});

t.test("from its source tree berth installs nothing, and says what does", async (t) => {
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    const program = join(import.meta.dirname, "../../../berth.ts");
    execFile(process.execPath, [program, "install"], { env: {} }, (error, _, stderr) => resolve({ code: error ? 1 : 0, output: stderr }));
  });
  t.match({ code, output }, { code: 1, output: /^berth: .*npm run build:binary/ });
});
