import { createServer, type RequestListener } from "node:http";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openUpstream, type UpstreamSettings } from "../../../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../../../lib/log.ts";
import { Count } from "../../../../lib/metrics/open-metrics.ts";
import { rejectsWith } from "../../../drivers/conformance.ts";
import { createStillClock } from "../../../fixtures/clock.ts";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { LOGIN, openDistribution } from "./distribution.ts";
import { push, signal, through } from "./pushed.ts";
import { openTokenServer } from "./token-server.ts";
import { listen } from "../../../fixtures/server.ts";
import { eventually } from "../../../fixtures/eventually.ts";

const log = openLog({ level: "silent", name: "test" });
const PULL = { repository: "datagrok/x", actions: ["pull"] } as const;

async function open(
  t: Test,
  url: string,
  more: Partial<UpstreamSettings> = {},
  clock = systemClock(),
  counts = { done: new Count(), failed: new Count() },
) {
  const settings = { url, username: undefined, password: undefined, ecrMode: false, awsRegion: undefined, ...more };
  const upstream = await openUpstream(settings, { clock, log, signal: signal(), counts });
  t.teardown(() => upstream.close());
  return upstream;
}

async function serve(t: Test, answer: RequestListener, address = "127.0.0.1"): Promise<string> {
  const server = createServer(answer);
  const { port } = await listen(t, server, { host: address });
  return `http://${address}:${port}`;
}

t.test("in front of a registry that takes tokens", async (t) => {
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await openDistribution(t, tokens.auth);
  const file = join(tempFolder(t), "below", "registry-token");
  const counts = { done: new Count(), failed: new Count() };
  const upstream = await open(t, `http://${registry.host}`, { ...LOGIN, tokenFile: file }, systemClock(), counts);

  await t.test("a push and a pull find their tokens", async (t) => {
    const digest = await push(upstream, "datagrok/x", "1");
    t.type(digest, "string");
    const pulled = await through(upstream, PULL, "/v2/datagrok/x/manifests/1", { method: "HEAD" });
    t.equal(pulled.status, 200);
    t.strictSame([...new Set(tokens.requests.flatMap(({ scopes }) => scopes))], ["repository:datagrok/x:pull,push", "repository:datagrok/x:pull"]);
    t.equal(tokens.requests.length, 2, "one for each scope");
    t.same([counts.done.value, counts.failed.value], [2, 0]);
  });

  await t.test("deletes and the catalogue have scopes of their own", async (t) => {
    const head = await through(upstream, PULL, "/v2/datagrok/x/manifests/1", { method: "HEAD" });
    const at = `/v2/datagrok/x/manifests/${head.headers.get("docker-content-digest")}`;
    t.equal((await through(upstream, { repository: "datagrok/x", actions: ["delete"] }, at, { method: "DELETE" })).status, 202);
    t.equal((await through(upstream, { repository: undefined, actions: ["pull"] }, "/v2/_catalog")).status, 200);
    t.equal((await through(upstream, { repository: undefined, actions: [] }, "/v2/")).status, 200);
  });

  await t.test("programs beside berth find the tokens in a file that no other user may read", async (t) => {
    await upstream.close();
    t.equal(statSync(file).mode & 0o777, 0o600);
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    const [, expires = "", value = ""] = /^repository:datagrok\/x:pull (\d+) (.+)$/m.exec(lines.join("\n")) ?? [];
    t.ok(Number(expires) > Date.now() / 1_000);
    const { status } = await fetch(`http://${registry.host}/v2/datagrok/x/tags/list`, { headers: { authorization: value } });
    t.equal(status, 200);
  });

  await t.test("without a login, tokens that let pull are had and a push is refused by the registry", async (t) => {
    const anonymous = await open(t, `http://${registry.host}`);
    t.equal((await through(anonymous, PULL, "/v2/datagrok/x/tags/list")).status, 200);
    t.equal(tokens.requests.at(-1)?.authorization, undefined);
    t.equal(await push(anonymous, "datagrok/x", "2"), 401);
  });

  await t.test("a token that ran out is refused, and the next one requested once", async (t) => {
    const fresh = await open(t, `http://${registry.host}`, LOGIN, createStillClock());
    tokens.shape.lifeSeconds = -100;
    t.equal((await through(fresh, PULL, "/v2/datagrok/x/tags/list")).status, 401, "so new that another would be no better");
    tokens.shape.lifeSeconds = 300;
  });
});

t.test("a refused token is renewed once for all who were refused", async (t) => {
  const clock = createStillClock();
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await openDistribution(t, tokens.auth);
  const upstream = await open(t, `http://${registry.host}`, LOGIN, clock);
  tokens.shape.lifeSeconds = -100;
  t.equal((await through(upstream, PULL, "/v2/datagrok/x/tags/list")).status, 401);
  await clock.advance(10_000);
  tokens.shape.lifeSeconds = 300;
  const before = tokens.requests.length;
  const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await through(upstream, PULL, "/v2/datagrok/x/tags/list")).status));
  t.strictSame([...new Set(statuses)], [404], "authorized, though there is no such repository");
  t.equal(tokens.requests.length - before, 1);
});

t.test("a hundred who ask at once ask the token server once, and later ones not at all until it is due", async (t) => {
  const clock = createStillClock();
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await serve(t, (_, response) =>
    response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.realm}",service="s"` }).end(),
  );
  const upstream = await open(t, registry, LOGIN, clock);
  const all = await Promise.all(Array.from({ length: 100 }, async () => upstream.authorization(PULL, signal())));
  t.equal(new Set(all).size, 1);
  t.equal(tokens.requests.length, 1);
  t.type(upstream.authorization(PULL, signal()), "string", "at once");

  await t.test("who leaves takes nothing from the others", async (t) => {
    const gone = new AbortController();
    const left = upstream.authorization({ ...PULL, repository: "y" }, gone.signal) as Promise<string>;
    const stays = upstream.authorization({ ...PULL, repository: "y" }, signal());
    const reason = new Error("gone");
    gone.abort(reason);
    t.equal(await left.catch((error: unknown) => error), reason);
    t.match(await stays, /^Bearer /);
  });

  await t.test("without expires_in a token is used for less than 60 s", async (t) => {
    tokens.shape.answer = {};
    const short = { ...PULL, repository: "short" };
    const first = await upstream.authorization(short, signal());
    await clock.advance(40_000);
    t.equal(upstream.authorization(short, signal()), first);
    await clock.advance(20_000);
    t.not(await upstream.authorization(short, signal()), first);
  });

  await t.test("while the token server is away, a token that still lasts serves on", async (t) => {
    tokens.shape.answer = { expires_in: 100 };
    const lasting = { ...PULL, repository: "lasting" };
    const first = await upstream.authorization(lasting, signal());
    await clock.advance(80_000);
    tokens.failures.push({ status: 403 });
    const [before, timers] = [tokens.requests.length, clock.pending()];
    t.equal(upstream.authorization(lasting, signal()), first);
    t.equal(upstream.authorization(lasting, signal()), first);
    await eventually("the token server has answered", () => tokens.requests.length > before && clock.pending() <= timers);
    t.equal(tokens.requests.length, before + 1);
    await clock.advance(20_000);
    t.match(await upstream.authorization(lasting, signal()), /^Bearer /);
  });
});

t.test("an overloaded token server gets the request again after its Retry-After", async (t) => {
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await serve(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.realm}"` }).end());
  const upstream = await open(t, registry, LOGIN);
  tokens.failures.push({ status: 429, retryAfter: "1" }, { status: 503 });
  const begun = Date.now();
  t.match(await upstream.authorization(PULL, signal()), /^Bearer /);
  t.ok(Date.now() - begun >= 1_000);
  t.equal(tokens.requests.length, 3);

  await t.test("and after it failed not before a pause, in which the same fault is the answer", async (t) => {
    tokens.failures.push(...Array.from({ length: 3 }, () => ({ status: 500 })));
    const other = { ...PULL, repository: "other" };
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(other, signal())));
    const before = tokens.requests.length;
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(other, signal())));
    t.equal(tokens.requests.length, before);
  });
});

t.test("a wrong password is reported, without the password", async (t) => {
  const tokens = await openTokenServer(t, { ...LOGIN, password: "another" });
  const registry = await serve(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.realm}"` }).end());
  const upstream = await open(t, registry, LOGIN);
  const fault = await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(PULL, signal())));
  t.notMatch(JSON.stringify(fault) + String(fault.stack), new RegExp(LOGIN.password));
});

t.test("a hostile registry gets credentials sent nowhere", async (t) => {
  const received: unknown[] = [];
  const thief = await serve(
    t,
    (request, response) => {
      received.push(request.headers);
      response.end(JSON.stringify({ token: "stolen" }));
    },
    "127.0.0.2",
  );
  const redirecting = await serve(t, (_, response) => response.writeHead(307, { location: thief }).end());
  for (const realm of [
    thief,
    thief.replace("127.0.0.2", "localhost"),
    redirecting,
    "file:///etc/passwd",
    "http://user:name@127.0.0.1/",
    "nonsense",
    "",
  ]) {
    const registry = await serve(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}"` }).end());
    const upstream = await open(t, registry, LOGIN);
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization(PULL, signal())));
    const pending = upstream.refused(PULL, `Bearer realm="${realm}"`, signal());
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", pending);
  }
  t.strictSame(received, []);
});

t.test("a token server that is not trusted, seen once, is forgotten soon after it was mended", async (t) => {
  const clock = createStillClock();
  const tokens = await openTokenServer(t, LOGIN);
  const good = `Bearer realm="${tokens.realm}",service="s"`;
  const broken = 'Bearer realm="http://169.254.169.254/token"';
  let challenge = broken;
  const registry = await serve(t, (_, response) => response.writeHead(401, { "www-authenticate": challenge }).end());
  const upstream = await open(t, registry, LOGIN, clock);
  const authorization = async () => upstream.authorization(PULL, signal());
  await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", authorization());
  challenge = good;
  await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", authorization());
  await clock.advance(10_000);
  t.match(await authorization(), /^Bearer /);
  await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", upstream.refused(PULL, broken, signal()));
  t.match(await authorization(), /^Bearer /, "nor does one in mid-session take the token away");
});

t.test("what would not be a header line is no token", async (t) => {
  const tokens = await openTokenServer(t, LOGIN);
  const registry = await serve(t, (_, response) => response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.realm}"` }).end());
  for (const [at, token] of ["a\r\nX-Evil: 1", "", 7, null, "x".repeat(40_000)].entries()) {
    tokens.shape.answer = { token };
    const upstream = await open(t, registry, LOGIN);
    await rejectsWith(t, "UPSTREAM_CREDENTIAL_FAILED", Promise.resolve(upstream.authorization({ ...PULL, repository: `r${at}` }, signal())));
  }
});
