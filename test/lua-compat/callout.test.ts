import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type CalloutProxy, calloutCases, editConfig, openFront, startProgram } from "../conf/callout/proxy-cases.ts";
import { eventually } from "../fixtures/eventually.ts";
import { freePort } from "../fixtures/server.ts";
import { EDITED_HEADERS } from "../../gateway/callout/callout-response.ts";
import { exchange, ID, PATH } from "../gateway/stand.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

const LUA_COMPAT = join(import.meta.dirname, "../../lua-compat");
/** Where the files expect to be. */
const INSTALLED = "/etc/nginx/lua-compat";
const MODULES = "/usr/share/nginx/modules";

const NGINX: CalloutProxy = {
  name: "nginx with Lua",
  reports: "counts",
  start: async (t, ports) => {
    const folder = tempFolder(t);
    const http = editConfig(readFileSync(join(LUA_COMPAT, "callout-http.conf"), "utf8"), ports)
      .replaceAll(INSTALLED, LUA_COMPAT)
      .replace("port = 8082", `port = ${ports.callout}`);
    writeFileSync(join(folder, "http.conf"), http);
    writeFileSync(join(folder, "server.conf"), readFileSync(join(LUA_COMPAT, "callout.conf"), "utf8").replaceAll(INSTALLED, LUA_COMPAT));
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join("\n");
    const errorLog = join(folder, "error.log");
    writeFileSync(
      join(folder, "nginx.conf"),
      `load_module ${MODULES}/ndk_http_module.so;
load_module ${MODULES}/ngx_http_lua_module.so;
daemon off; master_process off; pid ${folder}/pid; error_log ${errorLog} warn;
events {}
http {
  access_log off;
  ${temporary}
  include ${folder}/http.conf;
  server { listen 127.0.0.1:${ports.port}; include ${folder}/server.conf; }
}`,
    );
    return startProgram(t, "nginx", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", errorLog], { errorLog, port: ports.port });
  },
};

calloutCases(t, NGINX);

const ADA = "A".repeat(43);

t.test("one decision serves many requests, and each is reported to berth", async (t) => {
  const { echo, decided, stand } = await openFront(t, NGINX);
  const begin = performance.now();
  for (let count = 0; count < 200; count++) await echo(`${PATH}/${count}?q`);
  const seconds = (performance.now() - begin) / 1_000;
  t.ok(decided.length <= 2 + 3 * seconds, `${decided.length} decisions in ${seconds} s`);
  t.ok(decided.length < 100, `${decided.length} decisions for 200 requests`);
  await eventually("a report that none is open", () => stand.uses.get(ID)?.open === 0);
});

t.test("a request with a kept decision reaches its container with the headers of one that berth decided about", async (t) => {
  const { echo, decided } = await openFront(t, NGINX);
  const cookie = { cookie: `auth=${ADA}; own=1` };
  const claimed = Object.fromEntries(Object.values(EDITED_HEADERS).map((name) => [name, "forged"]));
  const ofRequest = ["x-request-id", "traceparent", "date"];
  const shared = ({ headers }: Awaited<ReturnType<typeof echo>>) => Object.entries(headers).filter(([name]) => !ofRequest.includes(name));
  const first = await echo(`${PATH}/`, cookie);
  const kept = await eventually("a request without a question to berth", async () => {
    const count = decided.length;
    const reached = await echo(`${PATH}/`, { ...cookie, ...claimed });
    return decided.length === count ? reached : undefined;
  });
  t.same(shared(kept), shared(first));
  const ids = [first, kept, await echo(`${PATH}/`, cookie)].map(({ headers }) => String(headers["x-request-id"]));
  t.equal(new Set(ids).size, 3);
  t.ok(
    ids.every((id) => /^[\w.-]{8,}$/.test(id)),
    ids.join(" "),
  );
});

t.test("both locations of containers set and remove the same headers", (t) => {
  const removed = readFileSync(join(LUA_COMPAT, "callout-removed.conf"), "utf8").replaceAll(/^proxy_/gm, "    proxy_");
  const text = readFileSync(join(LUA_COMPAT, "callout.conf"), "utf8").replaceAll(/^ +include .*callout-removed\.conf;$/gm, removed);
  const [kept, decided] = ["location /api/docker/containers/proxy/ {", "location @berth_decided {"].map((begin) => {
    const block = text.slice(text.indexOf(begin), text.indexOf("\n}", text.indexOf(begin)));
    return [...block.matchAll(/^ {4}proxy_(?:set|hide)_header (\S+)/gm)].map(([, name = ""]) => name.toLowerCase());
  });
  // Only berth continues a trace; without it, the client's own headers pass.
  const ofTraces = new Set(["traceparent", "tracestate"]);
  t.same(
    kept,
    decided?.filter((name) => !ofTraces.has(name)),
  );
  for (const [name, carrier] of Object.entries(EDITED_HEADERS))
    t.ok(
      [name, carrier.toLowerCase()].every((one) => decided?.includes(one)),
      name,
    );
  t.end();
});

t.test("a traced client's requests use the kept decision, and keep their trace", async (t) => {
  const { echo, decided } = await openFront(t, NGINX);
  const traced = {
    traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    tracestate: "own=1",
    "x-real-ip": "203.0.113.9",
    forwarded: "for=203.0.113.9",
  };
  await echo(`${PATH}/`);
  const { headers } = await eventually("a request without a question to berth", async () => {
    const count = decided.length;
    const reached = await echo(`${PATH}/`, traced);
    return decided.length === count ? reached : undefined;
  });
  t.match(headers, { traceparent: traced.traceparent, tracestate: "own=1", "x-real-ip": undefined, forwarded: undefined });
});

t.test("a kept decision is used for nothing else", async (t) => {
  const { echo, send, port, reached, stand } = await openFront(t, NGINX);
  const cookie = { authorization: [] as string[], cookie: `auth=${ADA}` };
  const post = { method: "POST", body: "x" };
  const keep = async () => {
    await echo(`${PATH}/`);
    await echo(`${PATH}/`, cookie);
    await echo(`${PATH}/`, cookie, post);
    reached.length = 0;
  };
  await keep();
  for (const [what, headers, method] of [
    ["a foreign page's POST", { ...cookie, origin: "https://evil.example" }, post],
    ["the same by Sec-Fetch-Site", { ...cookie, "sec-fetch-site": "cross-site" }, post],
    ["the same by Referer", { ...cookie, referer: "https://evil.example/" }, post],
    ["another cookie", { ...cookie, cookie: `auth=${"C".repeat(43)}` }, {}],
    ["no credential", { authorization: [] as string[] }, {}],
    ["a credential with more behind it", { authorization: `${ADA}x` }, {}],
    ["one header's value in another", { authorization: [] as string[], referer: ADA }, {}],
  ] as const) {
    await keep();
    t.match((await send(`${PATH}/`, headers, method)).status, /^40[13]$/, what);
    t.same(reached, [], what);
  }
  await keep();
  t.match((await send(`${PATH}/`, { "service-worker": "script" })).body, /unregister/);
  t.same(reached, []);
  // A path of the container's location by normalization alone, in which the kept container's id stands where it usually does.
  await keep();
  const raw = `/${"x".repeat(27)}/${ID}/../..${PATH.replace(ID, "00000000-0000-4000-8000-000000000000")}/x`;
  t.match(
    await exchange(port, `GET ${raw} HTTP/1.1\r\nHost: stand.example\r\nAuthorization: ${ADA}\r\nConnection: close\r\n\r\n`),
    /^HTTP\/1\.1 [45]/,
  );
  t.same(reached, []);
  // Of a probe, the container is no longer in use.
  await eventually("no use", () => stand.uses.get(ID)?.open === 0);
  const before = stand.uses.get(ID)?.lastActive;
  t.equal((await send(`${PATH}/`, { "x-berth-no-wake": "1" })).status, 200);
  t.equal(stand.uses.get(ID)?.lastActive, before);
});

t.test("a request whose container refuses the connection does not count as open for ever", async (t) => {
  const { send, stand } = await openFront(t, NGINX);
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port: await freePort() } });
  await eventually("its sentence", async () => {
    const { status, body } = await send(`${PATH}/`);
    return status === 502 && body.includes("The container closed the connection or refused it");
  });
  await eventually("no use", () => stand.uses.get(ID)?.open === 0);
  t.pass();
});
