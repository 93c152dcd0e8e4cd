// A fake: the package registry's list of advisories, which tests do not call. What it answers is what the real one's documented bulk endpoint
// does; any other path, and a body that is not its own gzip of names and versions, is refused as there.
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { listen } from "../fixtures/server.ts";

const ROOT = join(import.meta.dirname, "../..");
type Advisories = Record<string, object[]>;

/** `advisories`: undefined for a registry that has no such list. */
async function audit(t: Test, advisories: Advisories | undefined) {
  const requests: string[] = [];
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const isAdvisoryQuery = request.method === "POST" && request.url === "/-/npm/v1/security/advisories/bulk" && advisories !== undefined;
    if (!isAdvisoryQuery) return response.writeHead(405).end();
    requests.push(...Object.keys(JSON.parse(gunzipSync(Buffer.concat(pieces)).toString()) as object));
    return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(advisories));
  });
  const { port } = await listen(t, server);
  const folder = t.testdir({});
  const file = join(folder, "berth.cdx.json");
  const env = {
    ...process.env,
    npm_config_registry: `http://127.0.0.1:${port}`,
    npm_config_cache: join(folder, "cache"),
    npm_config_fetch_retries: "0",
  };
  const code = await new Promise<number>((resolve) =>
    execFile("sh", [join(ROOT, "conf/audit.sh"), file], { env, timeout: 60_000 }, (error) => resolve(error === null ? 0 : Number(error.code))),
  );
  const { components } = JSON.parse(readFileSync(file, "utf8")) as { components: { name: string; version: string }[] };
  return { code, requests, components };
}

const PACKAGE = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Record<"dependencies" | "devDependencies", Record<string, string>>;
const advisory = (severity: string) => ({
  id: 1,
  url: "https://example.org/1",
  title: "Bad",
  severity,
  vulnerable_versions: "*",
  cwe: [],
  cvss: { score: 9 },
});

t.test("the bill of materials has all that runs and none of the tools; where nothing is known against it, all is well", async (t) => {
  const { code, requests, components } = await audit(t, {});
  t.equal(code, 0);
  const named = new Map(components.map(({ name, version }) => [name, version]));
  t.match(Object.fromEntries(named), { ws: PACKAGE.dependencies["ws"], "better-sqlite3": PACKAGE.dependencies["better-sqlite3"] });
  const runs = Object.keys(PACKAGE.dependencies).filter((name) => !PACKAGE.dependencies[name]?.startsWith("npm:"));
  t.same(
    runs.filter((name) => !named.has(name)),
    [],
  );
  t.notOk(named.has("tap") || named.has("typescript"));
  t.notOk(named.has("vite") || named.has("rolldown"), "what builds the console does not run");
  t.ok(requests.includes("ws") && !requests.includes("tap"), "the query names the packages that run");
});

t.test("a grave advisory fails the build, a slight one does not", async (t) => {
  t.equal((await audit(t, { ws: [advisory("critical")] })).code, 1);
  t.equal((await audit(t, { ws: [advisory("low")] })).code, 0);
});

t.test("a registry that cannot be reached fails the audit", async (t) => {
  t.equal((await audit(t, undefined)).code, 2);
});
