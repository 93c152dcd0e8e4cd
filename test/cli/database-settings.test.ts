import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A real server that takes the user `berth` over TLS only, by password. */
const folder = tempFolder(t);
const inFolder = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"];
execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
const rules = inFolder("pg_hba.conf", "host all postgres 127.0.0.1/32 trust\nhostssl all berth 127.0.0.1/32 scram-sha-256\n");
const server = await startPostgres(t, ["ssl=on"], { "server.crt": cert, "server.key": key, "pg_hba.conf": rules });
const PASSWORD = "a-real/secret of: berth";
const WRONG = "a-wrong-secret";
await server.query(`CREATE ROLE berth LOGIN PASSWORD '${PASSWORD}'`);
await server.query("CREATE DATABASE berth OWNER berth");

const url = `postgres://berth@localhost:${server.port}/berth?sslmode=verify-full`;
const good = { BERTH_DATABASE_URL: url, BERTH_DATABASE_PASSWORD_FILE: inFolder("password", `${PASSWORD}\n`), BERTH_DATABASE_CA: cert };
const dataFolder = (name: string) => {
  const data = join(folder, name);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  return data;
};
const PROGRAM = join(import.meta.dirname, "../../berth.ts");

/** Runs a command, and looks for secrets in all that it prints. */
async function command(name: string, env: Record<string, string>, ...args: string[]): Promise<{ code: number; output: string }> {
  const options = { env: { PATH: process.env["PATH"], BERTH_DATA: dataFolder(name), ...env }, cwd: folder };
  const result = await new Promise<{ code: number; output: string }>((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], options, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, output: stdout + stderr }));
  });
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), WRONG]) t.notOk(result.output.includes(secret), "no secret is printed");
  return result;
}

t.test("`berth gateways token` prints the token of the database in each data folder, over TLS and with the password of a file", async (t) => {
  const first = await command("one", good, "gateways", "token");
  t.match(first, { code: 0, output: /^[0-9a-f]{64}\n$/ });
  t.same(await command("two", good, "gateways", "token"), first);
  const renewed = await command("two", good, "gateways", "token", "--new", "--at-once");
  t.not(renewed.output, first.output);
  t.same(await command("one", good, "gateways", "token"), renewed);
});

t.test("a password in the URL works too, percent-encoded", async (t) => {
  const withPassword = { BERTH_DATABASE_URL: url.replace("berth@", `berth:${encodeURIComponent(PASSWORD)}@`), BERTH_DATABASE_CA: cert };
  t.match(await command("one", withPassword, "gateways", "token"), { code: 0, output: /^[0-9a-f]{64}\n$/ });
});

t.test("the authorities can be the text of the file, as a task on Fargate has them", async (t) => {
  t.match(await command("one", { ...good, BERTH_DATABASE_CA: readFileSync(cert, "utf8") }, "gateways", "token"), { code: 0 });
});

t.test("what is wrong with the settings is one sentence, without a secret", async (t) => {
  const problems: [env: Record<string, string>, output: RegExp][] = [
    [{ BERTH_DATABASE_PASSWORD_FILE: inFolder("wrong", WRONG) }, /refused the user or the password \(localhost:\d+\/berth/],
    [
      { BERTH_DATABASE_PASSWORD_FILE: "", BERTH_DATABASE_URL: url.replace("berth@", `berth:${WRONG}@`) },
      /refused the user or the password \(localhost:\d+\/berth/,
    ],
    [{ BERTH_DATABASE_PASSWORD_FILE: "/nowhere" }, /BERTH_DATABASE_PASSWORD_FILE cannot be read/],
    [{ BERTH_DATABASE_CA: "" }, /not trusted: set BERTH_DATABASE_CA/],
    [{ BERTH_DATABASE_CA: "/nowhere" }, /authorities cannot be read/],
    [{ BERTH_DATABASE_URL: url.replace("localhost", "127.0.0.1") }, /certificate of PostgreSQL is for another host/],
    [{ BERTH_DATABASE_URL: url.replace("verify-full", "disable") }, /refused the user or the password/],
    [{ BERTH_DATABASE_URL: url.replace("/berth?", "/other?") }, /no such database/],
  ];
  for (const [env, output] of problems) {
    const all: Record<string, string> = { ...good, ...env };
    const set = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
    t.match(await command("one", set, "gateways", "token"), { code: 1, output }, JSON.stringify(Object.keys(env)));
  }
});

t.test("`berth doctor` and `berth config` print no secret of it", async (t) => {
  const wrong = { BERTH_DRIVER: "process", ...good, BERTH_DATABASE_PASSWORD_FILE: inFolder("wrong", WRONG) };
  t.match((await command("one", wrong, "doctor")).output, /refused the user or the password/);
  const { output } = await command(
    "one",
    { BERTH_DRIVER: "process", ...good, BERTH_DATABASE_URL: url.replace("berth@", `berth:${WRONG}@`) },
    "config",
  );
  t.match(output, /BERTH_DATABASE_URL|database/);
});
