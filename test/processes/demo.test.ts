import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";

import { typeBerth } from "../cli/fixtures/type-berth.ts";
import { makeCertificate } from "../fixtures/certificates.ts";
import { workingIn } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { eventually } from "../fixtures/eventually.ts";

const ROOT = join(import.meta.dirname, "../..");

function startDemo(t: Test, data: string, more: NodeJS.ProcessEnv = {}) {
  const env = { PATH: process.env["PATH"] ?? "", BERTH_EDGE_PORT: "0", BERTH_CONSOLE_PORT: "0", BERTH_DATA: data, ...more };
  const demo = spawn(process.execPath, [join(ROOT, "berth.ts"), "demo"], { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
  t.teardown(() => demo.kill("SIGKILL"));
  let printed = "";
  for (const stream of [demo.stdout, demo.stderr]) stream.on("data", (piece: Buffer) => (printed += piece.toString()));
  const ended = once(demo, "exit");
  const end = (signal: NodeJS.Signals) => {
    demo.kill(signal);
    return ended;
  };
  return { printed: () => printed, ended, end };
}

for (const signal of ["SIGINT", "SIGHUP"] as const) {
  t.test(`a demo that is left by ${signal} takes along what it started`, async (t) => {
    const data = tempFolder(t);
    const demo = startDemo(t, data);
    const url = await eventually("the command to paste", async () => /"(http:\S+\/square\?number=4)"/.exec(demo.printed())?.[1]);
    const answer = await fetch(url, { headers: { authorization: readFileSync(join(data, "demo.token"), "utf8").trim() } });
    t.strictSame(await answer.json(), { result: 16 });
    t.equal(workingIn(data).length, 1, "its container runs");
    t.strictSame(await demo.end(signal), [0, null]);
    t.strictSame(workingIn(data), []);
  });
}

t.test("berth doctor checks the driver that the demo runs, without its settings", async (t) => {
  const data = tempFolder(t);
  const demo = startDemo(t, data);
  await eventually("the command to paste", async () => /"(http:\S+\/square\?number=4)"/.exec(demo.printed())?.[1]);
  const env = { PATH: process.env["PATH"] ?? "", BERTH_EDGE_PORT: "0", BERTH_DATA: data };
  const { stdout } = await typeBerth(["doctor", "--json"], { env });
  const { links } = JSON.parse(stdout) as { links: { link: string; state: string; says: string }[] };
  t.match(
    links.find(({ link }) => link === "driver"),
    { state: "ok", says: /^process/ },
  );
  t.strictSame(await demo.end("SIGINT"), [0, null]);
});

t.test("a demo behind a certificate that only itself trusts is published, and its commands work", async (t) => {
  for (const names of ["DNS:localhost,IP:127.0.0.1", "DNS:stand.example"]) {
    const data = tempFolder(t);
    const { cert, key } = makeCertificate(data, "edge", undefined, names);
    const [certFile, keyFile] = [join(data, "edge.pem"), join(data, "edge.key")];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key);
    const env = { BERTH_TLS_CERT: certFile, BERTH_TLS_KEY: keyFile };
    const demo = startDemo(t, data, env);
    const command = await eventually("the command to paste", async () => /^ {2}(curl .*)$/m.exec(demo.printed())?.[1]);
    t.match(command, names.includes("127.0.0.1") ? `--cacert ${certFile} ` : "--insecure ");
    t.equal(execFileSync("sh", ["-c", command.replace("curl ", "curl --silent --max-time 60 ")], { encoding: "utf8" }).trim(), '{"result":16}');
    const socket = await eventually("the other command", async () => /^ {2}(node -e .*)$/m.exec(demo.printed())?.[1]);
    t.match(execFileSync("sh", ["-c", socket], { encoding: "utf8", cwd: ROOT, timeout: 60_000 }), /^CONNECTED\nhello\n/);
    t.strictSame(await demo.end("SIGINT"), [0, null]);
  }
});

t.test("a demo with Docker names the command that builds its image, at once", async (t) => {
  const demo = startDemo(t, tempFolder(t), { BERTH_DRIVER: "docker", DOCKER_HOST: process.env["DOCKER_HOST"] ?? "" });
  t.strictSame(await demo.ended, [1, null]);
  t.match(demo.printed(), "docker build -t datagrok/demo-square:admin conf/demo/dockerfiles/square");
});
