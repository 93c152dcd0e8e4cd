import { X509Certificate } from "node:crypto";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../lib/clock.ts";
import { readSettings } from "../../conf/read-settings.ts";
import { configuredControlLink } from "../../processes/control-link.ts";

import { startBerthProcess } from "../fixtures/berth-process.ts";
import { makeCertificate } from "../fixtures/certificates.ts";
import { isAlive, rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { freePort } from "../fixtures/server.ts";
import { openStand, packageOf } from "../program/rights/fixtures/stand.ts";
import { eventually } from "../fixtures/eventually.ts";

/** `berth gateway --control …` as administrators start it, beside the control plane that it joins; across machines: `test/program/recovery/gateways-elsewhere.test.ts`. */
async function openJoinable(t: Test, more: { plain?: boolean } = {}) {
  const folder = tempFolder(t);
  const files = { cert: join(folder, "entrance.crt"), key: join(folder, "entrance.key") };
  const made = makeCertificate(folder, "entrance");
  writeFileSync(files.cert, made.cert);
  writeFileSync(files.key, made.key);
  const port = await freePort();
  const tls = more.plain ? {} : { BERTH_GATEWAYS_HOST: "0.0.0.0", BERTH_GATEWAYS_TLS_CERT: files.cert, BERTH_GATEWAYS_TLS_KEY: files.key };
  const stand = await openStand(t, { BERTH_GATEWAYS_PORT: String(port), ...tls });
  const token = async (...args: string[]) => (await stand.command(["gateways", "token", ...args])).stdout.trim();
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, `${await token()}\n`);
  const control = `${more.plain ? "http" : "https"}://127.0.0.1:${port}`;
  const trusts = more.plain ? {} : { BERTH_CONTROL_CA: files.cert };
  const joins = { BERTH_EDGE_PORT: "0", BERTH_CONTROL: control, BERTH_CONTROL_TOKEN_FILE: tokenFile, ...trusts };
  const start = async (env: Record<string, string> = {}) => {
    const started = await startBerthProcess({ role: "gateway", cwd: folder, env: { ...joins, ...env }, announces: /http:\/\/\S+?:\d+/ });
    t.teardown(() => started.end("SIGKILL"));
    return { ...started, base: started.announced[0] };
  };
  return { stand, control, token, tokenFile, joins, start, fingerprint: new X509Certificate(made.cert).fingerprint256 };
}

/** Over a connection of its own: one that is kept leads to one process. */
function statusOf(url: string, authorization: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false, headers: { authorization } }, (answer) => resolve(answer.resume().statusCode)).once("error", reject);
  });
}

t.test("a gateway that joins serves containers, wakes them, and passes everything else to control's API", async (t) => {
  const { stand, joins, start, fingerprint } = await openJoinable(t);
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${stand.berth.key}` });
  const path = `/api/docker/containers/proxy/${await stand.ready("app-square")}/square?number=4`;
  const gateway = await start({ BERTH_WORKERS: "2", BERTH_CONTROL_CA: "", BERTH_CONTROL_FINGERPRINT: fingerprint });
  t.equal(await statusOf(gateway.base + path, stand.berth.token), 200);
  t.equal(await statusOf(`${gateway.base}/api/users/current`, stand.berth.token), 200);
  t.equal(await statusOf(`${gateway.base}/api/users/current`, "unknown"), 401);

  const [victim] = rolesBelow(gateway.pid)["gateway"] ?? [];
  process.kill(victim ?? 0, "SIGKILL");
  await eventually("the worker to be gone", async () => (isAlive(victim ?? 0) ? undefined : true));
  const statuses = await Promise.all(Array.from({ length: 20 }, () => statusOf(gateway.base + path, stand.berth.token)));
  t.same(new Set(statuses), new Set([200]), "the other one takes what comes");
  await eventually("another to be there", async () => (rolesBelow(gateway.pid)["gateway"] ?? []).length === 2);

  await stand.berth.kill();
  t.equal(await statusOf(gateway.base + path, stand.berth.token), 200, "without control it goes on");
  const early = await start();
  t.equal(await statusOf(`${early.base}/readyz`, ""), 503, "one that never reached it is red");
  t.equal(await statusOf(`${early.base}/api/users/current`, "any-key"), 503);
  const control = await startBerthProcess({
    role: "serve",
    cwd: stand.data,
    env: {
      BERTH_DRIVER: "process",
      BERTH_EDGE_PORT: "0",
      BERTH_DATA: join(stand.data, "berth-data"),
      BERTH_GATEWAYS_PORT: new URL(joins.BERTH_CONTROL).port,
      BERTH_GATEWAYS_TLS_CERT: joins.BERTH_CONTROL_CA ?? "",
      BERTH_GATEWAYS_TLS_KEY: (joins.BERTH_CONTROL_CA ?? "").replace(/crt$/, "key"),
    },
    announces: /http:\/\/\S+?:\d+/,
  });
  t.teardown(() => control.end("SIGTERM"));
  await eventually("it to have joined", async () => (await statusOf(`${early.base}/readyz`, "")) === 200);
});

t.test("a gateway that control refuses says so in a sentence, and ends; so does a control plane that would accept every gateway", async (t) => {
  const { stand, control, token, joins } = await openJoinable(t);
  const real = await token();
  const wrong = `${real.startsWith("a") ? "b" : "a"}${real.slice(1)}`;
  const trusted = { BERTH_EDGE_PORT: "0", BERTH_CONTROL_CA: joins.BERTH_CONTROL_CA ?? "" };
  const refused = await stand.command(["gateway", "--control", control, "--token", wrong], trusted);
  t.match([refused.code, refused.stderr], [1, /^berth: The control plane refuses this gateway's token/]);
  t.notMatch(refused.stdout + refused.stderr + stand.berth.output(), wrong, "the token is in no log");
  const served = await stand.command(["serve"], { BERTH_CONTROL: control, BERTH_DATA: join(stand.data, "second") });
  t.match([served.code, served.stderr], [2, /berth serve` has its own/]);
  const exposed = { BERTH_GATEWAYS_PORT: "0", BERTH_GATEWAYS_HOST: "0.0.0.0", BERTH_EDGE_PORT: "0", BERTH_DATA: join(stand.data, "third") };
  const open = await stand.command(["serve"], exposed);
  t.match([open.code, open.stderr], [2, /without TLS/]);
});

t.test("settings that name no control plane to join safely are refused", (t) => {
  const token = "a".repeat(64);
  const rows: [env: Record<string, string>, expected: RegExp][] = [
    [{ BERTH_CONTROL: "https://berth.internal:8443" }, /No token/],
    [{ BERTH_CONTROL: "https://berth.internal:8443", BERTH_CONTROL_TOKEN: token, BERTH_CONTROL_TOKEN_FILE: "/x" }, /one of them/],
    [{ BERTH_CONTROL: "https://berth.internal:8443", BERTH_CONTROL_TOKEN_FILE: "/nowhere" }, /cannot be read/],
    [{ BERTH_CONTROL: "https://berth.internal:8443/api", BERTH_CONTROL_TOKEN: token }, /scheme, host and port/],
    [{ BERTH_CONTROL: "http://192.0.2.1:8443", BERTH_CONTROL_TOKEN: token }, /would not be encrypted/],
  ];
  const linkOf = (env: Record<string, string>) => configuredControlLink(readSettings({ env, file: undefined }).settings, systemClock());
  for (const [env, expected] of rows) t.throws(() => linkOf(env), { code: "SETTINGS_INVALID", message: expected });
  t.ok(linkOf({ BERTH_CONTROL: "http://192.0.2.1:8443", BERTH_CONTROL_TOKEN: token, BERTH_CONTROL_PLAIN: "on" }));
  t.ok(linkOf({ BERTH_CONTROL: "http://127.0.0.1:8443", BERTH_CONTROL_TOKEN: token }));
  t.equal(linkOf({}), undefined);
  t.end();
});

t.test("a token that is replaced reaches a gateway by its file, without an end; one that is refused keeps it from control alone", async (t) => {
  const { stand, token, tokenFile, start } = await openJoinable(t, { plain: true });
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${stand.berth.key}` });
  const path = `/api/docker/containers/proxy/${await stand.ready("app-square")}/square?number=4`;
  const gateway = await start();
  t.equal(await statusOf(gateway.base + path, stand.berth.token), 200);
  const next = await token("--new", "--at-once");
  await eventually("it to be refused", async () => /refuses this gateway's token/.test(gateway.output()));
  t.equal(await statusOf(gateway.base + path, stand.berth.token), 200, "what it knows, it serves");
  t.equal(await statusOf(`${gateway.base}/api/users/current`, stand.berth.token), 503);
  writeFileSync(tokenFile, `${next}\n`);
  await eventually("control to accept it", async () => (await statusOf(`${gateway.base}/api/users/current`, stand.berth.token)) === 200);
  t.match((await stand.command(["gateways", "token"])).stdout.trim(), next);
  for (const args of [[], ["frob"], ["token", "--at-once"], ["token", "x"]])
    t.equal((await stand.command(["gateways", ...args])).code, 2, args.join(" "));
});

t.test("after a backup, the loss of everything and a restore, a gateway joins again with the token that it has", async (t) => {
  const { stand, joins, start } = await openJoinable(t, { plain: true });
  const gateway = await start();
  t.equal(await statusOf(`${gateway.base}/api/users/current`, stand.berth.token), 200);
  const backup = join(tempFolder(t), "kept.db");
  t.match(await stand.command(["backup", backup]), { stderr: "" });
  await stand.berth.kill();
  const data = join(stand.data, "berth-data");
  for (const name of readdirSync(data)) rmSync(join(data, name), { recursive: true });
  t.match((await stand.command(["restore", backup])).stdout, /Missing here:\n- the key of the credentials/);
  const control = await startBerthProcess({
    role: "serve",
    cwd: stand.data,
    env: { BERTH_DRIVER: "process", BERTH_EDGE_PORT: "0", BERTH_DATA: data, BERTH_GATEWAYS_PORT: new URL(joins.BERTH_CONTROL).port },
    announces: /http:\/\/\S+?:\d+/,
  });
  t.teardown(() => control.end("SIGTERM"));
  await eventually("the gateway to be authorized", async () => (await statusOf(`${gateway.base}/api/users/current`, "unknown")) === 401);
  t.notMatch(gateway.output(), /GATEWAY_REFUSED/);
});
