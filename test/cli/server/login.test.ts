import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openStand } from "../../program/rights/fixtures/stand.ts";
import { openTerminal } from "../fixtures/terminal.ts";
import { typeBerth } from "../fixtures/type-berth.ts";

t.test("a person signs in once, and commands go to that server until another one is chosen", async (t) => {
  const { berth, env } = await openStand(t);
  const home = tempFolder(t);
  const elsewhere = { PATH: env.PATH, HOME: home, BERTH_DATA: join(home, "no-data") };
  const type = (...args: string[]) => typeBerth(args, { env: elsewhere });
  const file = join(home, ".config/berth/config.yaml");

  await t.test("with a key that the terminal does not show", async (t) => {
    const session = openTerminal(t, ["login", berth.base, "--name", "lab"], { env: elsewhere });
    await session.expect(/Developer key for .*: $/);
    session.type(`${ADMIN_KEY}x\u007f\r`);
    t.equal(await session.ended(), 0, session.output());
    t.match(session.output(), /Signed in to http:.*\/api as admin\.\nIt is the current server now, saved as lab/);
    t.notMatch(session.output(), ADMIN_KEY);
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.match(await type("users", "ls"), { code: 0, stdout: /admin/ });
  });

  await t.test("contexts are listed, chosen and forgotten", async (t) => {
    writeFileSync(file, `# mine\n${readFileSync(file, "utf8")}`);
    t.match(await type("context", "ls"), { code: 0, stdout: /^CURRENT +NAME +URL\n +none .*\n\* +lab +http/ });
    t.match(await type("context", "use", "none"), { code: 0, stdout: /berth of this machine is the current server/ });
    t.match(await type("users", "ls"), { code: 5, stderr: /No berth runs on the data folder/ });
    t.match(await type("users", "ls", "--server", "lab"), { code: 0 });
    t.match(await type("context", "use", "lba"), { code: 2, stderr: /did you mean lab.*Saved: none, lab/ });
    t.match(await type("context", "use", "lab"), { code: 0 });
    t.match(await type("users", "ls"), { code: 0 });
    // This machine's berth all the same.
    t.match(await typeBerth(["users", "ls", "--server", "none"], { env: { ...elsewhere, ...env } }), { code: 0 });
    t.match(readFileSync(file, "utf8"), /^# mine\n/);
    t.match(await type("context", "rm", "lab"), { code: 0, stdout: /Forgot lab/ });
    t.notMatch(readFileSync(file, "utf8"), ADMIN_KEY);
    t.match(await type("users", "ls"), { code: 5 });
  });

  await t.test("a wrong key saves nothing", async (t) => {
    t.match(await typeBerth(["login", berth.base], { env: elsewhere, input: "wrong\n" }), {
      code: 4,
      stderr: /does not know this developer key.*Nothing was saved/,
    });
    t.match(await typeBerth(["login", berth.base], { env: elsewhere, input: "\n" }), { code: 2, stderr: /no developer key/ });
    t.match(JSON.parse((await type("context", "ls", "--json")).stdout), [{ name: "none", current: true }]);
    const session = openTerminal(t, ["login", berth.base], { env: elsewhere });
    await session.expect(/: $/);
    session.type("\u0003");
    t.equal(await session.ended(), 2);
    const killed = openTerminal(t, ["login", berth.base], { env: elsewhere });
    await killed.expect(/: $/);
    killed.kill("SIGTERM");
    t.equal(await killed.ended(), 130, killed.output());
  });
});

t.test("certificates that are not trusted say what to do", async (t) => {
  const folder = tempFolder(t);
  const { cert, key } = makeCertificate(folder, "own");
  const ca = join(folder, "ca.pem");
  writeFileSync(ca, cert);
  writeFileSync(join(folder, "key.pem"), key);
  const started = await startBerthProcess({
    role: "serve",
    cwd: folder,
    env: {
      BERTH_EDGE_PORT: "0",
      BERTH_DATA: join(folder, "data"),
      BERTH_ADMIN_KEY: ADMIN_KEY,
      BERTH_DRIVER: "process",
      BERTH_TLS_CERT: ca,
      BERTH_TLS_KEY: join(folder, "key.pem"),
    },
    announces: /https:\/\/\S+?:\d+/,
  });
  t.teardown(() => started.end("SIGTERM"));
  const [url] = started.announced;
  const home = tempFolder(t);
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, BERTH_KEY: ADMIN_KEY };
  const type = (...args: string[]) => typeBerth(args, { env, input: ADMIN_KEY });
  t.match(await type("ps", "--server", url), { code: 5, stderr: /authority that this machine does not trust.*--ca <file>/ });
  t.match(await type("ps", "--server", url.replace("https:", "http:")), { code: 5 });
  t.match(await type("ps", "--server", url, "--ca", ca), { code: 0 });
  t.match(await type("ps", "--server", url, "--ca", join(folder, "key.pem")), { code: 2, stderr: /no certificate in PEM form/ });
  t.match(await type("login", url, "--name", "tls", "--ca", ca), { code: 0 });
  t.match(await type("ps"), { code: 0 }, "the authority is saved too");
});
