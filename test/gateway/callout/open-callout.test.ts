import { createSocket } from "node:dgram";
import { once } from "node:events";
import { request } from "node:http";
import t, { type Test } from "tap";
import type { CalloutOptions } from "../../../gateway/callout/open-callout.ts";
import type { ContainerView } from "../../../gateway/contract.ts";
import { Fault } from "../../../lib/fault.ts";
import { createStillClock, pause } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { ID, openStand, PATH, WS_PATH } from "../stand.ts";

type StandOptions = NonNullable<Parameters<typeof openStand>[1]>;
type Answer = { status: number; headers: NodeJS.Dict<string | string[]>; body: string };

const OTHER_ID = "00000000-0000-4000-8000-000000000000";
const ADDRESS = { host: "10.1.2.3", port: 5000 };
const [ADA, ADAS_DERIVED] = ["A".repeat(43), "a".repeat(43)];
const PERSON = { userId: "ada", login: "ada", admin: false, derivedToken: ADAS_DERIVED };

async function open(t: Test, callout: Partial<CalloutOptions> = {}, options: StandOptions = {}) {
  const stand = await openStand(t, { forwarder: "splice", ...options, callout });
  const { port = 0, logPort = 0 } = stand.gateway.callout ?? {};
  stand.tokens.set(ADA, PERSON);
  stand.set(ID, { kind: "awake", address: ADDRESS });
  /** Sends a question; `headers` as they stand, with the usual ones in front. */
  const send = (path: string, headers: Record<string, string | string[]> = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const question = request({ port, host: "127.0.0.1", path, headers, agent: false }, (response) => {
        let body = "";
        response.on("data", (piece) => (body += String(piece)));
        response.once("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      });
      question.once("error", reject);
      question.end();
    });
  const forwarded = (target: string, headers: Record<string, string | string[]> = {}, method = "GET") =>
    send("/decide", { ...FROM, "x-forwarded-method": method, "x-forwarded-uri": target, authorization: ADA, ...headers });
  const nginx = (target: string, headers: Record<string, string | string[]> = {}, method = "GET") =>
    send("/decide", { ...FROM, "x-original-method": method, "x-original-uri": target, authorization: ADA, ...headers });
  return { stand, send, forwarded, nginx, logPort };
}

const FROM = { host: "stand.example", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https" };

t.test("a permitted request gets the address, the path, and the headers that the container shall see", async (t) => {
  const { forwarded, nginx } = await open(t);
  for (const ask of [forwarded, nginx]) {
    const { status, headers } = await ask(`${PATH}/a//b/%2e%2e/c?d=e&f`);
    t.equal(status, 200);
    t.match(headers, {
      "x-berth-status": "200",
      "x-berth-upstream": "10.1.2.3:5000",
      "x-berth-path": "/a//b/%2e%2e/c?d=e&f",
      "x-berth-container": ID,
      "x-berth-authorization": ADAS_DERIVED,
      "x-berth-user-api-key": ADAS_DERIVED,
      "x-berth-forwarded-for": "192.0.2.7",
      "x-berth-forwarded-proto": "https",
      "x-berth-forwarded-host": "stand.example",
      "x-berth-request-id": /^[\da-f]{32}$/,
      "x-berth-traceparent": /^00-/,
    });
    t.notOk("x-berth-cookie" in headers);
    t.notOk(JSON.stringify(headers).includes(ADA), "the session's own token does not reach the container");
  }
});

t.test("Envoy's request has the target behind a prefix, and its answer names headers as they are", async (t) => {
  const { send } = await open(t);
  const { status, headers } = await send(`/envoy${PATH}/a?b`, { ...FROM, authorization: `Bearer ${ADA}`, "x-forwarded-host": "evil.example" });
  t.equal(status, 200);
  t.match(headers, {
    "x-envoy-original-dst-host": "10.1.2.3:5000",
    authorization: `Bearer ${ADAS_DERIVED}`,
    "x-user-api-key": ADAS_DERIVED,
    "x-forwarded-host": "stand.example",
    "x-berth-path": "/a?b",
  });
  t.ok(String(headers["x-envoy-auth-headers-to-remove"]).split(",").includes("cookie"));
});

t.test("a refusal has the status and sentence of the edge; for nginx it is 401 or 403, with the status beside it", async (t) => {
  const { forwarded, nginx, stand } = await open(t);
  const gone = PATH.replace(ID, OTHER_ID);
  const rows: [target: string, headers: Record<string, string>, status: number, atNginx: number][] = [
    [`${PATH}/`, { authorization: "wrong" }, 401, 401],
    [`${gone}/`, {}, 404, 403],
    ["/api/docker/containers/proxy/x/", {}, 400, 403],
    // The edge's own business.
    ["/api/users", {}, 421, 403],
    [`${WS_PATH}/`, {}, 421, 403],
    [`${PATH}/`, { "service-worker": "script" }, 421, 403],
  ];
  for (const [target, headers, status, atNginx] of rows) {
    const own = await forwarded(target, headers);
    t.equal(own.status, status, target);
    t.match(JSON.parse(own.body), { "datagrok-error": /./ });
    const beside = await nginx(target, headers);
    t.equal(beside.status, atNginx, target);
    t.equal(beside.headers["x-berth-status"], String(status), target);
    t.notOk("x-berth-upstream" in beside.headers);
  }
  stand.tokens.set(ADA, new Fault("CONTROL_AWAY", "control is away", { retryAfterMs: 3_000 }));
  t.match(await forwarded(`${PATH}/`), { status: 503, headers: { "retry-after": "3" } });
});

t.test("a sleeping container is woken, and the question held until it is ready", async (t) => {
  const { forwarded, stand } = await open(t);
  stand.set(ID, { kind: "asleep" });
  const pending = forwarded(`${PATH}/`);
  await eventually("a wake", () => stand.wakes.includes(ID));
  stand.set(ID, { kind: "awake", address: ADDRESS });
  t.match(await pending, { status: 200, headers: { "x-berth-upstream": "10.1.2.3:5000" } });
});

t.test("a question is held for a bounded time, and not beyond the end of the session", async (t) => {
  const { forwarded, stand } = await open(t, {}, { limits: { proxyRequestTimeoutMs: 50 } });
  stand.set(ID, { kind: "asleep" });
  t.match(await forwarded(`${PATH}/`), { status: 504 });
  const { forwarded: longer, stand: other } = await open(t);
  other.set(ID, { kind: "asleep" });
  const pending = longer(`${PATH}/`);
  await eventually("a wake", () => other.wakes.includes(ID));
  other.signOut(ADA);
  t.match(await pending, { status: 401 });
});

t.test("a suspect address is never named", async (t) => {
  const { forwarded, stand } = await open(t);
  stand.set(ID, { kind: "coming", step: "check" });
  const pending = forwarded(`${PATH}/`);
  await eventually("the held question", () => stand.openAt(ID).count === 1);
  stand.set(ID, { kind: "awake", address: { host: "10.1.2.4", port: 5000 } });
  t.match(await pending, { headers: { "x-berth-upstream": "10.1.2.4:5000" } });
});

t.test("a question that could be read in two ways is refused", async (t) => {
  const { send, forwarded, nginx } = await open(t);
  const other = PATH.replace(ID, OTHER_ID);
  const pending = { ...FROM, authorization: ADA };
  const rows: [what: string, answer: Promise<Answer>][] = [
    ["a client's X-Forwarded-Uri beside nginx's own", nginx(`${PATH}/`, { "x-forwarded-uri": `${other}/` })],
    ["a client's X-Forwarded-Method beside nginx's own", nginx(`${PATH}/`, { "x-forwarded-method": "POST" })],
    ["a client's X-Original-URI beside the proxy's own", forwarded(`${PATH}/`, { "x-original-uri": `${other}/`, "x-original-method": "GET" })],
    ["a repeated target", send("/decide", { ...pending, "x-forwarded-method": "GET", "x-forwarded-uri": [`${PATH}/`, `${other}/`] })],
    ["a repeated method", send("/decide", { ...pending, "x-forwarded-method": ["GET", "POST"], "x-forwarded-uri": `${PATH}/` })],
    ["no method", send("/decide", { ...pending, "x-forwarded-uri": `${PATH}/` })],
    ["no client", send("/decide", { host: "a", "x-forwarded-proto": "https", "x-forwarded-method": "GET", "x-forwarded-uri": `${PATH}/` })],
    ["a fragment", forwarded(`${PATH}/#x`)],
    ["an absolute target", forwarded(`http://stand.example${PATH}/`)],
    ["CONNECT", forwarded(`${PATH}/`, {}, "CONNECT")],
    ["a decoded target", forwarded(`${PATH}/a b`)],
  ];
  for (const [what, answer] of rows) t.match(await answer, { status: /^(400|403)$/, headers: { "x-berth-status": "400" } }, what);
  // A path that only another's normalization makes one of a container.
  for (const target of [`/x/..${PATH}/`, `//${PATH.slice(1)}/`, PATH.replace("/api", "/%61pi")])
    t.match(await forwarded(target), { status: 421 }, target);
});

t.test("only one who knows the secret may ask", async (t) => {
  const secret = "s".repeat(32);
  const { forwarded, send } = await open(t, { secret });
  for (const shown of [{}, { "x-berth-callout-secret": "wrong" }, { "x-berth-callout-secret": [secret, secret] }]) {
    t.equal((await forwarded(`${PATH}/`, shown)).status, 403);
    for (const path of ["/changes", "/report?", `/envoy${PATH}/`]) t.equal((await send(path, { ...FROM, ...shown })).status, 403);
  }
  t.equal((await forwarded(`${PATH}/`, { "x-berth-callout-secret": secret })).status, 200);
});

t.test("a guard of the listener closes connections before a byte is read", async (t) => {
  let refuses = true;
  const guard: CalloutOptions["guard"] = (server) => {
    server.prependListener("connection", (socket) => void (refuses && socket.destroy()));
  };
  const { forwarded } = await open(t, { guard });
  await t.rejects(forwarded(`${PATH}/`));
  refuses = false;
  t.equal((await forwarded(`${PATH}/`)).status, 200);
});

t.test("a page of a foreign origin cannot use the browser's cookie, also for a WebSocket whose Upgrade the proxy does not pass on", async (t) => {
  const { forwarded } = await open(t);
  const page = { authorization: [] as string[], cookie: `auth=${ADA}`, origin: "https://evil.example" };
  t.equal((await forwarded(`${PATH}/`, page, "POST")).status, 403);
  t.equal((await forwarded(`${PATH}/`, { ...page, "sec-websocket-key": "x" })).status, 403);
  t.equal((await forwarded(`${PATH}/`, { ...page, origin: "https://stand.example" }, "POST")).status, 200);
});

t.test("the proxy's address is not the client's: a chain that an untrusted client wrote ends there", async (t) => {
  const { forwarded } = await open(t, {}, { trusted: ["192.0.2.7"] });
  const chain = async (value: string) => (await forwarded(`${PATH}/`, { "x-forwarded-for": value })).headers["x-berth-forwarded-for"];
  t.equal(await chain("198.51.100.1"), "198.51.100.1");
  t.equal(await chain("203.0.113.9, 198.51.100.1"), "198.51.100.1");
  t.equal(await chain("203.0.113.9, 192.0.2.7"), "203.0.113.9, 192.0.2.7", "a trusted load balancer in front of the proxy");
});

t.test("headers of berth's own in a client's request change nothing", async (t) => {
  const { forwarded } = await open(t);
  const { headers } = await forwarded(`${PATH}/`, {
    "x-berth-upstream": "10.9.9.9:1",
    "x-berth-authorization": "x",
    "x-real-ip": "1.1.1.1",
    forwarded: "for=1.1.1.1",
  });
  t.match(headers, { "x-berth-upstream": "10.1.2.3:5000", "x-berth-authorization": ADAS_DERIVED });
  t.notOk("x-berth-real-ip" in headers);
  t.notOk("x-berth-forwarded" in headers);
});

t.test("a decision counts as use for a while, a probe never, and a report ends it sooner", async (t) => {
  const clock = createStillClock();
  const { forwarded, send, stand } = await open(t, { activeMs: 10_000 }, { clock });
  const openUses = () => stand.uses.get(ID)?.open;
  t.match(await forwarded(`${PATH}/`, { "x-berth-no-wake": "1" }), { status: 200 });
  t.not(openUses(), 1);
  await forwarded(`${PATH}/`);
  t.equal(openUses(), 1);
  await clock.advance(9_000);
  await forwarded(`${PATH}/`);
  await clock.advance(9_000);
  t.equal(openUses(), 1, "each decision counts anew");
  await clock.advance(2_000);
  t.equal(openUses(), 0);
  await send(`/report?${ID}:2:0`, FROM);
  await clock.advance(9_000);
  t.equal(openUses(), 1, "an open connection that the proxy reports");
  await send(`/report?${ID}:1:0`, FROM);
  await clock.advance(9_000);
  t.equal(openUses(), 1);
  await send(`/report?${ID}:0:0`, FROM);
  await clock.advance(1_000);
  t.equal(openUses(), 0);
  await send(`/report?${ID}:0:3`, FROM);
  await clock.advance(1_000);
  t.equal(openUses(), 0);
  t.ok((stand.uses.get(ID)?.lastActive ?? 0) >= clock.now() - 1_000, "requests that are over count as activity");
  const refused = await send(`/report?x,${OTHER_ID}:1:1:12345678,${ID}:1:1:30`, FROM);
  t.match(refused, { status: 400, body: /list of <container id>/ });
  t.same(stand.busy, [[ID, 30]], "a malformed entry spoils no other");
  t.match(await send(`/report?${ID}:1:1:30,${OTHER_ID}:1:1`, FROM), { status: 200 });
});

t.test("a request that the proxy's report does not have yet stays in use until the next report", async (t) => {
  const clock = createStillClock();
  const { forwarded, send, stand } = await open(t, { activeMs: 60_000 }, { clock });
  await forwarded(`${PATH}/`);
  await send(`/report?${ID}:0:0`, FROM);
  await clock.advance(1_000);
  t.equal(stand.uses.get(ID)?.open, 1);
  await clock.advance(2_000);
  t.equal(stand.uses.get(ID)?.open, 0);
});

t.test("of a proxy that reports its open requests, no lines of an access log are awaited", async (t) => {
  const clock = createStillClock();
  const { forwarded, send, stand } = await open(t, { activeMs: 1_000, logs: { port: 0, openMs: 3_600_000 } }, { clock });
  for (const nth of ["first", "second"]) {
    await forwarded(`${PATH}/`);
    await send(`/report?${ID}:1:1`, FROM);
    t.equal(stand.uses.get(ID)?.open, 1, nth);
    await forwarded(`${PATH}/`);
    await send(`/report?${ID}:0:1`, FROM);
    await clock.advance(4_000);
    t.equal(stand.uses.get(ID)?.open, 0, nth);
  }
});

t.test("a request counts until a line of the proxy's access log ends it, and other lines end nothing", async (t) => {
  const clock = createStillClock();
  const { forwarded, stand, logPort } = await open(t, { activeMs: 1_000, logs: { port: 0, openMs: 3_600_000 } }, { clock });
  const { headers } = await forwarded(`${PATH}/`);
  const lease = String(headers["x-berth-lease"]);
  t.match(lease, /^[\w-]{22}$/);
  await clock.advance(600_000);
  t.equal(stand.uses.get(ID)?.open, 1);
  const socket = createSocket("udp4");
  t.teardown(() => socket.close());
  const line = (id: string) => `<190>Nov 30 20:00:00 berth: {"lease":"${id}","status":200}`;
  for (const text of ["", "\0\xff", line("A".repeat(22)), line("x"), line(lease)]) socket.send(text, logPort, "127.0.0.1");
  await eventually("the end", async () => {
    await clock.advance(1_000);
    return stand.uses.get(ID)?.open === 0;
  });
  await forwarded(`${PATH}/`);
  await clock.advance(3_601_000);
  t.equal(stand.uses.get(ID)?.open, 0, "a line that was lost");
});

t.test("changes of a container and sign-outs are pushed", async (t) => {
  const { forwarded, send, stand } = await open(t);
  type List = { source: string; at: number; all: boolean; ids: string[] };
  const read = async (after?: List) =>
    JSON.parse((await send(after === undefined ? "/changes" : `/changes?source=${after.source}&at=${after.at}`, FROM)).body) as List;
  await forwarded(`${PATH}/`);
  const first = await read();
  t.match(first, { all: true, ids: { length: 0 } }, "nothing that was decided before");
  stand.set(ID, { kind: "asleep" });
  const second = await read(first);
  t.match(second, { all: false, ids: [ID] });
  const waiting = read(second);
  stand.signOut(ADA);
  t.match(await waiting, { all: true });
  t.match(await read({ ...second, source: "another" }), { all: true });
});

t.test("while the gateway before this one has the port of access logs, questions are answered; then lines are read", async (t) => {
  const before = createSocket("udp4");
  before.bind(0, "127.0.0.1");
  await once(before, "listening");
  const { port } = before.address();
  const { forwarded, stand } = await open(t, { activeMs: 1, logs: { port, openMs: 3_600_000 } });
  const lease = String((await forwarded(`${PATH}/`)).headers["x-berth-lease"]);
  t.equal(stand.uses.get(ID)?.open, 1);
  before.close();
  const socket = createSocket("udp4").on("error", () => undefined);
  t.teardown(() => socket.close());
  await eventually("the end of the request", async () => {
    socket.send(`lease=${lease}`, port, "127.0.0.1");
    await pause(50);
    return stand.uses.get(ID)?.open === 0;
  });
  t.pass("the line was read");
});

t.test("another port of access logs than one that can be bound is a fault at the start", async (t) => {
  await t.rejects(open(t, { logs: { port: 1, openMs: 1_000 }, host: "192.0.2.1" }), { code: "ADDRESS_IN_USE" });
});

t.test("a WebSocket goes through the edge, which alone ends it with its caller's session", async (t) => {
  const { forwarded, stand } = await open(t);
  for (const headers of [{ upgrade: "websocket" }, { "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" }])
    t.match(await forwarded(`${PATH}/`, headers), { status: 421, headers: { "x-berth-upstream": undefined } });
  t.equal(stand.openAt(ID).count, 0);
});

t.test("the edge carries requests whose number or replica berth decides", async (t) => {
  const { forwarded, nginx, send, stand } = await open(t);
  const addresses = [1, 2].map((replica) => ({ ...ADDRESS, port: 5_000 + replica, replica, ...(replica === 1 ? {} : { owner: OTHER_ID }) }));
  const limited: Partial<ContainerView>[] = [{ maxConcurrency: 1 }, { replicas: {}, availability: { kind: "awake", addresses } }];
  for (const more of limited) {
    stand.publish({ id: ID, name: "demo", availability: { kind: "awake", addresses: [ADDRESS] }, ...more });
    const what = Object.keys(more).join(" ");
    t.match(await forwarded(`${PATH}/`), { status: 421, headers: { "x-berth-upstream": undefined } }, what);
    t.match(await nginx(`${PATH}/`), { status: 403, headers: { "x-berth-status": "421" } }, what);
    const { status, headers } = await send(`/envoy${PATH}/`, { ...FROM, authorization: ADA });
    t.match({ status, headers }, { status: 200, headers: { "x-berth-edge": "1", "x-envoy-original-dst-host": undefined } }, what);
    t.equal(stand.openAt(ID).count, 0);
  }
  stand.publish({ id: ID, name: "demo", availability: { kind: "asleep" }, maxConcurrency: 1 });
  t.match(await forwarded(`${PATH}/`), { status: 421 }, "without waiting for its start");
  t.match((await forwarded(`${PATH}/`, { authorization: "wrong" })).status, 401);
});
