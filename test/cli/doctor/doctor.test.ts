import { createServer, request } from "node:http";
import { join } from "node:path";
import t, { type Test } from "tap";
import { CHECKS } from "../../../cli/doctor/checks.ts";
import { VERSION } from "../../../cli/version.ts";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openNginx } from "../../lua-compat/nginx.ts";
import { freePort } from "../../fixtures/server.ts";
import { openOwn } from "../../gateway/registry/own-registry.ts";
import { byName, doctor, look, type CheckRows, states } from "./look.ts";
import { listen } from "../../fixtures/server.ts";

/** A load balancer as simple as can be: it sets forwarding headers. */
async function openForwarder(t: Test, base: string): Promise<{ port: number }> {
  const server = createServer((incoming, answer) => {
    const headers = { ...incoming.headers, "x-forwarded-for": incoming.socket.remoteAddress ?? "" };
    const sent = request(new URL(incoming.url ?? "/", base), { method: incoming.method, headers }, (response) => {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(answer);
    });
    sent.once("error", () => answer.destroy());
    incoming.pipe(sent);
  });
  return listen(t, server);
}

/** A whole berth with plain processes and a registry of its own, and what `berth doctor` finds with it and with what may stand in front. */
const { berth, base: registry, data } = await openOwn(t);
const env = {
  BERTH_DATA: join(data, "berth-data"),
  XDG_RUNTIME_DIR: data,
  BERTH_ADMIN_KEY: ADMIN_KEY,
  BERTH_DRIVER: "process",
  BERTH_REGISTRY: "embedded",
  BERTH_EDGE_PORT: new URL(berth.base).port,
  BERTH_REGISTRY_PORT: new URL(registry).port,
};
const left = async () => (await (await berth.call("/docker/containers")).json()) as unknown[];
const WITH_CONTAINER = ["driver", "container", "websocket", "events", "idle"];
const ALONE = new Set(["datagrok name", "registry name", "certificate", "datagrok", "tcp", "store", "sleepers", "image rules", "sign in"]);

t.test("where all is well it says so, shows no secret, and leaves nothing", async (t) => {
  const { code, out, err } = await doctor(["--json", "--idle", "1"], env);
  t.same([code, err], [0, ""]);
  const { ok, links } = JSON.parse(out) as { ok: boolean; links: CheckRows[string][] };
  t.equal(ok, true);
  t.same(states(byName(links)), Object.fromEntries(CHECKS.map(({ name }) => [name, ALONE.has(name) ? "not looked at" : "ok"])));
  t.notOk(out.includes(ADMIN_KEY) || out.includes(berth.token));
  t.same(await left(), []);
});

t.test("a proxy in front that passes no WebSocket and keeps events back, and one that cuts silent connections", async (t) => {
  const [buffering, hasty] = [await freePort(), await freePort()];
  const server = (port: number, lines: string) => `server { listen 127.0.0.1:${port}; location / { proxy_pass ${berth.base}; ${lines} } }\n`;
  const passes = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_buffering off;";
  const edit = (text: string) =>
    text.replace("127.0.0.1:8080", new URL(berth.base).host) +
    server(buffering, "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;") +
    server(hasty, `${passes} proxy_read_timeout 1s;`);
  await openNginx(t, { http: "berth-http.conf", server: "berth-front.conf", edit });
  const through = async (port: number) => states(await look(t, WITH_CONTAINER, env, { server: `http://127.0.0.1:${port}`, idleSeconds: 3 }));
  t.same(await through(buffering), { driver: "ok", container: "ok", websocket: "wrong", events: "wrong", idle: "not looked at" });
  t.same(await through(hasty), { driver: "ok", container: "ok", websocket: "ok", events: "ok", idle: "wrong" });
  t.same(await left(), []);
});

t.test("a proxy in front that is not trusted is warned of: all clients behind it are one address", async (t) => {
  const { port } = await openForwarder(t, berth.base);
  const problems = (await look(t, ["berth"], env, { server: `http://127.0.0.1:${port}` }))["berth"]?.problems;
  t.match(problems, [{ kind: "warning", what: /^127\.0\.0\.1 sends X-Forwarded-For and is not trusted/ }]);
});

t.test("a berth of another version than this program", async (t) => {
  let version = VERSION;
  const server = createServer((_request, response) => response.end(JSON.stringify({ Version: version })));
  const { port } = await listen(t, server);
  const state = async () => states(await look(t, ["berth"], env, { server: `http://127.0.0.1:${port}` }));
  t.same(await state(), { berth: "ok" });
  version = "9.9.9";
  t.same(await state(), { berth: "wrong" });
});

t.test("interrupted, it removes its container, and ends as what was interrupted", async (t) => {
  const { code, out } = await doctor(["--idle", "600"], env, (line, interrupt) => line.includes(" events ") && interrupt());
  t.equal(code, 130);
  t.match(out, /not looked at/);
  t.same(await left(), []);
});
