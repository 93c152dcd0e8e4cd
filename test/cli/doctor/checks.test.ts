import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createSocket, type Server } from "node:net";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import t, { type Test } from "tap";
import { type Certificate, type Differs, makeCertificate } from "../../fixtures/certificates.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "../../gateway/registry/distribution.ts";
import { DEV_KEY, jwkOf, makeSigner, openTokenServer } from "../../gateway/registry/token-server.ts";
import { doctor, look, type CheckRows, states } from "./look.ts";
import { listen } from "../../fixtures/server.ts";

const portOf = async (t: Test, server: Server) => (await listen(t, server)).port;

t.test("settings that cannot be read are reported, and nothing else is checked", async (t) => {
  const rows = await look(t, "all", { BERTH_EDGE_PORT: "eighty", BERTH_DRIVER: "sail" });
  t.equal(rows["settings"]?.problems.length, 2);
  t.same(new Set(Object.values(states(rows)).slice(1)), new Set(["not looked at"]));
});

t.test("settings that let everybody in are wrong; those that are merely open are warned of", async (t) => {
  const open = { BERTH_HOST: "0.0.0.0", BERTH_SPAWNER: "on" };
  t.same(states(await look(t, ["settings"], open)), { settings: "wrong" });
  const closed = (await look(t, ["settings"], { ...open, X_API_KEY: "our-own-key-alone" }))["settings"];
  t.equal(closed?.state, "ok");
  t.ok((closed?.problems.length ?? 0) > 0);
  t.same((await look(t, ["settings"], {}))["settings"]?.problems, []);
});

t.test("a name without an address is reported with its purpose, and checks that need it are skipped", async (t) => {
  // Longer than a label may be, so that no query reaches a name server.
  const nowhere = `${"x".repeat(64)}.example`;
  const names = ["address", "datagrok name", "registry name", "certificate", "datagrok"];
  const rows = await look(t, names, { DATAGROK_URL: `http://${nowhere}/api`, REGISTRY_URL: nowhere }, { server: `https://${nowhere}` });
  t.same(Object.values(states(rows)), ["wrong", "wrong", "wrong", "not looked at", "not looked at"]);
  t.same(states(await look(t, ["address"], { BERTH_EDGE_PORT: "0" })), { address: "wrong" });
  t.same(states(await look(t, ["address"], {}, { server: "http://localhost" })), { address: "ok" });
});

t.test("a certificate that is expired, for another name, or of an unknown signer", async (t) => {
  const folder = tempFolder(t);
  const make = (name: string, differs: Differs & { names?: string }) => makeCertificate(folder, name, undefined, differs.names, differs);
  const soon = make("soon", { dates: ["-days", "10"] });
  const long = make("long", { dates: ["-days", "90"] });
  const ended = make("ended", { dates: ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z"] });
  const other = make("other", { dates: ["-days", "90"], names: "DNS:other.example" });
  make("authority", { dates: ["-days", "90"] });
  const leaf = make("leaf", { dates: ["-days", "90"], signedBy: "authority" });
  const before = getCACertificates("default");
  setDefaultCACertificates([...before, ...[soon, long, ended, other].map(({ cert }) => cert)]);
  t.teardown(() => setDefaultCACertificates(before));
  const served = async ({ cert, key }: Certificate) => {
    const port = await portOf(t, createTlsServer({ cert, key }));
    return (await look(t, ["certificate"], {}, { server: `https://localhost:${port}` }))["certificate"];
  };
  t.match(await served(long), { state: "ok", problems: { length: 0 } });
  t.match(await served(soon), { state: "ok", problems: [{ kind: "warning" }] });
  t.match(await served(ended), { state: "wrong", problems: [{ kind: "wrong" }] });
  t.match(await served(other), { state: "wrong", problems: [{ kind: "wrong" }] });
  t.match(await served(leaf), { state: "wrong", problems: [{ kind: "wrong" }] });

  await t.test("also where only berth's own files have it, and TLS ends in front of it", async (t) => {
    const own = async ({ cert, key }: Certificate) => {
      const at = tempFolder(t);
      writeFileSync(join(at, "cert.pem"), cert);
      writeFileSync(join(at, "key.pem"), key);
      const env = { BERTH_TLS_CERT: join(at, "cert.pem"), BERTH_TLS_KEY: join(at, "key.pem") };
      return (await look(t, ["certificate"], env, { server: "http://localhost:1" }))["certificate"]?.state;
    };
    t.equal(await own(long), "ok");
    t.equal(await own(ended), "wrong");
    t.equal(await own({ cert: long.cert, key: ended.key }), "wrong", "a key of another certificate");
  });
  await t.test("a listener that speaks no TLS", async (t) => {
    const port = await portOf(t, createServer());
    t.same(states(await look(t, ["certificate"], {}, { server: `https://localhost:${port}` })), { certificate: "wrong" });
  });
});

t.test("a clock that is off, here or there, or where tokens are made", async (t) => {
  let [dateMs, tokenMs] = [0, 0];
  const answer: RequestListener = (request, response) => {
    response.sendDate = false;
    response.setHeader("date", new Date(Date.now() + dateMs).toUTCString());
    const begun = Math.floor((Date.now() + tokenMs) / 1_000);
    const claims = Buffer.from(JSON.stringify({ nbf: begun, exp: begun + 1_800 })).toString("base64url");
    response.end(request.url?.startsWith("/api/docker/token") ? JSON.stringify({ token: `e30.${claims}.x` }) : "{}");
  };
  const server = `http://127.0.0.1:${await portOf(t, createServer(answer))}`;
  const state = async () => (await look(t, ["clock"], { BERTH_ADMIN_KEY: DEV_KEY }, { server }))["clock"]?.state;
  t.equal(await state(), "ok");
  for (const off of [-120_000, 120_000]) {
    dateMs = off;
    t.equal(await state(), "wrong");
    [dateMs, tokenMs] = [0, off];
    t.equal(await state(), "wrong");
    tokenMs = 0;
  }
  t.equal((await look(t, ["clock"], {}, { server: "http://127.0.0.1:1" }))["clock"]?.state, "not looked at");
});

t.test("a Datagrok server of another issuer, with other keys, that is none, or is away", async (t) => {
  const server = await openTokenServer(t);
  const state = async (more: Record<string, string> = {}, key: string | undefined = DEV_KEY) => {
    return (await look(t, ["datagrok"], { DATAGROK_URL: server.url, ...more }, { key }))["datagrok"]?.state;
  };
  t.equal(await state(), "ok");
  t.equal(await state({ DATAGROK_ISSUER: server.issuer }), "ok");
  t.equal(await state({ DATAGROK_ISSUER: "https://other.example" }), "wrong");
  t.equal(await state({ DATAGROK_ISSUER: "https://other.example" }, "nobodys-key"), "wrong", "without a token, by what it says of itself");
  t.equal(await state({ DATAGROK_URL: `${new URL(server.url).origin}/elsewhere` }), "wrong");
  server.publish = async () => "<html>";
  t.equal(await state(), "wrong");
  t.equal(await state({}, "nobodys-key"), "wrong", "without a token too");
  const other = JSON.stringify({ keys: [await jwkOf(await makeSigner("another"))] });
  server.publish = async () => other;
  t.equal(await state(), "wrong", "a token of theirs would be refused");
  server.publish = undefined;
  server.away = true;
  t.equal(await state(), "wrong");
});

t.test("a berth that does not run, and one that is not berth", async (t) => {
  const port = await portOf(
    t,
    createServer((_request, response) => response.end("hello")),
  );
  t.same(states(await look(t, ["berth"], { BERTH_EDGE_PORT: "1" }, { server: `http://127.0.0.1:${port}` })), { berth: "wrong" });
});

t.test("a console that the edge sends browsers to, and that does not answer, or leads back elsewhere", async (t) => {
  const [answers, leads] = [{ rooms: JSON.stringify({ rooms: ["containers"] }) }, { to: "" }];
  const console = await portOf(
    t,
    createServer((request, response) => {
      response.setHeader("content-security-policy", `form-action 'self' ${leads.to}`);
      response.end(request.url === "/console/rooms" ? answers.rooms : "");
    }),
  );
  let location = `http://127.0.0.1:${console}/`;
  const edge = await portOf(
    t,
    createServer((_incoming, response) => response.writeHead(302, location === "" ? {} : { location }).end()),
  );
  const server = `http://127.0.0.1:${edge}`;
  leads.to = server;
  const row = async (env: Record<string, string> = {}) => (await look(t, ["console"], env, { server }))["console"];
  t.match(await row(), { state: "ok", problems: { length: 0 } });
  t.equal((await row({ BERTH_CONSOLE_HOST: "console.example" }))?.state, "wrong", "without BERTH_WEB_ROOT");
  t.equal((await row({ BERTH_CONSOLE_HOST: "a.example", BERTH_WEB_ROOT: "http://a.example" }))?.state, "wrong", "which is another name");
  t.equal((await row({ DATAGROK_URL: "http://127.0.0.1:1/api" }))?.state, "not looked at");
  leads.to = "http://edge.example";
  t.match(await row(), { state: "ok", problems: [{ kind: "warning" }] });
  leads.to = "";
  t.equal((await row())?.state, "wrong");
  answers.rooms = "<html>";
  t.equal((await row())?.state, "wrong");
  location = "http://127.0.0.1:1/";
  t.match(await row(), { state: "wrong", problems: [{ what: /sends browsers to http:\/\/127\.0\.0\.1:1\. .* cannot be reached/ }] });
  location = "";
  t.equal((await row())?.state, "wrong");
});

t.test("an engine whose socket is missing, without a listener, or not permitted", async (t) => {
  const folder = tempFolder(t);
  const state = async (host: string) => (await look(t, ["driver"], { BERTH_DRIVER: "docker", DOCKER_HOST: host }))["driver"]?.state;
  t.equal(await state(`unix://${folder}/none.sock`), "wrong");
  t.equal(await state("tcp://127.0.0.1:1"), "wrong");
  const socket = join(folder, "engine.sock");
  await listen(t, createSocket(), { path: socket });
  chmodSync(socket, 0o600);
  chmodSync(folder, 0o755);
  const data = join(folder, "data");
  mkdirSync(data);
  chmodSync(data, 0o777);
  const env = { BERTH_DRIVER: "docker", DOCKER_HOST: `unix://${socket}`, BERTH_DATA: data, XDG_RUNTIME_DIR: data, BERTH_EDGE_PORT: "1" };
  const { code, out } = await doctor(["--json"], env, undefined, ["setpriv", "--reuid=65534", "--clear-groups", "--"]);
  t.equal(code, 1);
  const { links } = JSON.parse(out) as { links: CheckRows[string][] };
  t.match(
    links.find(({ link }) => link === "driver"),
    { state: "wrong", problems: [{ kind: "wrong" }] },
  );
});

t.test("a registry behind the proxy that has stopped, and an unknown key", async (t) => {
  const server = await openTokenServer(t);
  const distribution = await openDistribution(t);
  const data = tempFolder(t);
  const env = { BERTH_DATA: data, XDG_RUNTIME_DIR: data, DATAGROK_URL: server.url, REGISTRY_URL: distribution.host, BERTH_REGISTRY_PORT: "0" };
  const proxy = await startBerthProcess({ role: "registry-proxy", cwd: data, env, announces: /http:\/\/\S+?:\d+/ });
  t.teardown(() => proxy.end("SIGKILL"));
  const registry = proxy.announced[0];
  const state = async (key = DEV_KEY) => (await look(t, ["registry"], { REGISTRY_URL: distribution.host }, { registry, key }))["registry"]?.state;
  t.equal(await state(), "ok");
  t.equal(await state("nobodys-key"), "wrong");
  await distribution.kill();
  t.equal(await state(), "wrong");
  t.equal((await look(t, ["registry"], {}))["registry"]?.state, "not looked at");
});

t.test("containers that a Datagrok server stops by itself are warned of", async (t) => {
  const containers = [
    { id: "1", name: "one", status: "started", config: { shutdown_timeout: 5 } },
    { id: "2", name: "two", status: "started", shutdown_timeout: 0 },
  ];
  const answer: RequestListener = (request, response) =>
    void response.end(JSON.stringify(request.url?.startsWith("/api/docker/containers?") ? containers : { token: "a-session" }));
  const DATAGROK_URL = `http://127.0.0.1:${await portOf(t, createServer(answer))}/api`;
  t.match((await look(t, ["sleepers"], { DATAGROK_URL }, { key: DEV_KEY }))["sleepers"], { state: "ok", problems: [{ kind: "warning" }] });
  t.equal((await look(t, ["sleepers"], { DATAGROK_URL }))["sleepers"]?.state, "not looked at");
});
