import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { join } from "node:path";
import t from "tap";
import { listen } from "../fixtures/server.ts";

const program = join(import.meta.dirname, "../../berth.ts");

/** Of a spawner, its drop-in's path; of control, that of its entrance; of all others, the edge's. */
const ANSWERING = new Set(["/readyz", "/info", "/livez"]);
/** The part of berth's listener that these tests use. */
const server = createServer((request, response) => response.writeHead(ANSWERING.has(request.url ?? "") ? status : 404).end(body));
let status = 200;
let body = "";
const { port: serverPort } = await listen(t, server);
const port = String(serverPort);

const health = (env: Record<string, string>) =>
  new Promise<{ code: number; output: string }>((resolve) => {
    const options = { env: { PATH: process.env["PATH"], BERTH_HOST: "0.0.0.0", BERTH_DATA: "/nowhere/at-all", ...env } };
    execFile(process.execPath, [program, "health"], options, (error, stdout, stderr) => resolve({ code: error ? 1 : 0, output: stdout + stderr }));
  });

t.test("the command checks that the listener of its role takes requests", async (t) => {
  t.same(await health({ BERTH_EDGE_PORT: port }), { code: 0, output: "ready\n" });
  t.same(await health({ BERTH_ROLE: "registry-proxy", BERTH_REGISTRY_PORT: port, BERTH_EDGE_PORT: "1" }), { code: 0, output: "ready\n" });
  t.same(await health({ BERTH_ROLE: "spawner", BERTH_SPAWNER_PORT: port, BERTH_EDGE_PORT: "1" }), { code: 0, output: "ready\n" });
  status = 503;
  t.match(await health({ BERTH_EDGE_PORT: port }), { code: 1, output: /answers 503/ });
  t.match(await health({ BERTH_EDGE_PORT: "1" }), { code: 1, output: /cannot be reached/ });
  status = 200;
  // A registry and a spawner beside the edge are checked too, each where it listens.
  for (const beside of [
    { BERTH_REGISTRY: "embedded", BERTH_REGISTRY_PORT: "1" },
    { BERTH_SPAWNER: "on", BERTH_SPAWNER_PORT: "1" },
  ])
    t.match(await health({ BERTH_EDGE_PORT: port, X_API_KEY: "a-key-that-is-unknown", ...beside }), {
      code: 1,
      output: /:1\/\w+ cannot be reached/,
    });
  t.match(await health({ BERTH_ROLE: "control" }), { code: 1, output: /^berth: No berth runs/ });
  const elected = { BERTH_ROLE: "control", BERTH_DATABASE_URL: "postgres://berth@127.0.0.1:1/berth", BERTH_GATEWAYS_HOST: "127.0.0.1" };
  t.same(await health({ ...elected, BERTH_GATEWAYS_PORT: port }), { code: 0, output: "ready\n" });
  t.match(await health({ ...elected, BERTH_GATEWAYS_PORT: "1" }), { code: 1, output: /:1\/livez cannot be reached/ });
});

t.test("a gateway whose control elsewhere is away stays healthy, since it serves what runs", async (t) => {
  body = JSON.stringify({ status: "ready", control: "unavailable since 2026-01-31T12:00:00.000Z" });
  t.match(await health({ BERTH_EDGE_PORT: port }), { code: 1, output: /degraded: control is unavailable since/ });
  t.match(await health({ BERTH_ROLE: "gateway", BERTH_CONTROL: "http://127.0.0.1:1", BERTH_EDGE_PORT: port }), {
    code: 0,
    output: /^degraded: control is unavailable since/,
  });
});
