import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createPlayer, parseRequests, type RequestPlayer } from "../../cli/shadow/play.ts";
import { compareProxies, compareResponses, parseKnownDifferences, SAMPLE } from "../../cli/shadow/shadow.ts";
import { systemClock } from "../../lib/clock.ts";
import { openDistribution } from "../gateway/registry/distribution.ts";
import { openRecorder, openStand } from "../gateway/registry/stand.ts";
import { DEV_KEY } from "../gateway/registry/token-server.ts";
import { LUA_COMPAT, openLuaProxy } from "./nginx.ts";

/** The Lua proxy and berth's, in front of the same Distribution, with the same server that knows the users. */

t.test("the Lua proxy and berth answer the same, but for what is written down with its reason", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry);
  const nginx = await openLuaProxy(t, { DATAGROK_URL: stand.tokens.url, REGISTRY_URL: registry.host });
  const requests = parseRequests(readFileSync(SAMPLE, "utf8"));
  const knownDifferences = parseKnownDifferences(readFileSync(join(LUA_COMPAT, "differences.json"), "utf8"));
  const {
    sent,
    skipped: passedOver,
    differences: found,
  } = await compareProxies(
    requests,
    knownDifferences,
    createPlayer({ base: nginx.base, repository: "shadow/one", key: DEV_KEY, clock: systemClock() }),
    createPlayer({ base: stand.base, repository: "shadow/two", key: DEV_KEY, clock: systemClock() }),
  );
  t.ok(sent >= 100);
  t.equal(passedOver, 0);
  const unexplained = found.filter((one) => one.known === undefined);
  t.same(
    unexplained.map(({ number, request, difference }) => ({ number, request: `${request.method} ${request.path}`, ...difference })),
    [],
  );
  const used = new Set(found.map((one) => one.known));
  t.same(
    knownDifferences.filter((one) => !used.has(one)),
    [],
    "nothing is written down that is no difference any more",
  );
  t.notMatch(nginx.errors(), /\[(?:error|crit|alert|emerg)\]/);
});

t.test("a proxy that answers otherwise is noticed: status, headers and Location", async (t) => {
  const registry = await openDistribution(t);
  const [open, closed] = [await openStand(t, registry), await openStand(t, registry, { anonymousPull: false })];
  const requests = parseRequests(
    ['{ "method": "GET", "path": "/v2/{repository}/tags/list" }', '{ "method": "GET", "path": "/v2/_catalog" }', "", "// nothing"].join("\n"),
  );
  const [first, second] = [open, closed].map(({ base }) => createPlayer({ base, repository: "a/b", key: undefined, clock: systemClock() }));
  const { sent, differences: found } = await compareProxies(requests, [], first as RequestPlayer, second as RequestPlayer);
  t.equal(sent, 2);
  t.match(
    found.filter(({ number }) => number === 1).map(({ difference }) => difference),
    [
      { of: "status", first: "404", second: "401" },
      { of: "header cache-control", first: undefined, second: "no-store" },
    ],
  );
  t.same(
    found.filter(({ number }) => number === 2),
    [],
  );

  const at = { base: "http://one", repository: "a/b" };
  const came = (location: string) => ({ status: 202, headers: [["location", location]] as [string, string][], body: "" });
  const led = (one: string, other: string) =>
    compareResponses({ came: came(one), at }, { came: came(other), at: { base: "http://two", repository: "a/c" } });
  const id = "5a3bb0a2-6dd7-4a3c-9d6a-0ff7a3b4f7ae";
  t.same(led(`http://one/v2/a/b/blobs/uploads/${id}?_state=x`, "http://two/v2/a/c/blobs/uploads/00000000-0000-0000-0000-000000000000?_state=y"), []);
  t.match(led("http://one/v2/a/b/", "http://registry.internal/v2/a/c/"), [{ of: "header location" }]);
});

t.test("the command prints what differs, and fails for what is not known", async (t) => {
  const registry = await openDistribution(t);
  const stand = await openStand(t, registry);
  const folder = t.testdir({
    key: DEV_KEY,
    "requests.jsonl": '{ "method": "PUT", "path": "/v2/{repository}/manifests/x", "scopes": ["repository:{repository}:pull,push"], "body": "{}" }\n',
    "wrong.jsonl": '{ "method": "GET" }',
  });
  const berth = (...args: string[]) =>
    new Promise<{ code: number | null; out: string }>((resolve) => {
      const child = spawn(process.execPath, [join(import.meta.dirname, "../../berth.ts"), "shadow", ...args], { cwd: folder });
      let out = "";
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (out += piece.toString()));
      child.once("close", (code) => resolve({ code, out }));
    });
  const same = await berth(stand.base, stand.base, "--requests", "requests.jsonl", "--key-file", "key");
  t.equal(same.code, 0, same.out);
  // The registry itself requires no credentials.
  const other = await berth(stand.base, `http://${registry.host}`, "--requests", "requests.jsonl", "--key-file", "key");
  t.equal(other.code, 4);
  t.equal((await berth(stand.base, stand.base, "--requests", "wrong.jsonl")).code, 2);
  t.equal((await berth(stand.base)).code, 2);

  // As its page begins: against one in use, by a user without a key yet.
  const read = await berth(stand.base, stand.base, "--read-only");
  t.equal(read.code, 0, read.out);
  t.match(read.out, /^\d\d requests compared, \d+ skipped because they sign in and --key-file is not set; 0 unknown differences\.$/m);

  const noTls = await berth(stand.base.replace("http:", "https:"), stand.base, "--read-only");
  t.equal(noTls.code, 5);
  t.match(noTls.out, /^berth: https:\S+ does not answer GET \S+: it speaks no TLS, or another one: try http\.\n$/);
});

t.test("a wrong key is shown once, and a client that has to wait does so", async (t) => {
  const wrong = parseRequests(readFileSync(SAMPLE, "utf8")).filter(
    ({ headers, body }) => headers["authorization"]?.startsWith("Basic ") || /password=(?!\{key\})/.test(body ?? ""),
  );
  t.equal(wrong.length, 1);
  let clientRequests = 0;
  const registry = await openRecorder(
    t,
    (_, response) => void (clientRequests++ === 0 ? response.writeHead(429, { "retry-after": "1" }).end() : response.end("in")),
  );
  const player = createPlayer({ base: `http://127.0.0.1:${registry.port}`, repository: "a/b", key: undefined, clock: systemClock() });
  t.match(await player.play({ method: "GET", path: "/token", headers: {} }), { status: 200, body: "in" });
  t.equal(clientRequests, 2);
});
