import { readFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:http2";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import protobuf from "protobufjs";
import t, { type Test } from "tap";
import type { CalloutOptions } from "../../../gateway/callout/open-callout.ts";
import { Fault, FAULTS } from "../../../lib/fault.ts";
import type { SocketKind } from "../../fixtures/connections.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { ID, openStand, PATH, WS_PATH } from "../stand.ts";

const { root } = protobuf.parse(readFileSync(join(import.meta.dirname, "ext-authz.proto"), "utf8"), { keepCase: true });
const [CHECK_REQUEST, CHECK_RESPONSE] = ["CheckRequest", "CheckResponse"].map((name) => root.lookupType(`envoy.service.auth.v3.${name}`)) as [
  protobuf.Type,
  protobuf.Type,
];

const SECRET = "s".repeat(32);
const OTHER_ID = "00000000-0000-4000-8000-000000000000";
const ADDRESS = { host: "10.1.2.3", port: 5000 };
const [ADA, ADAS_DERIVED] = ["A".repeat(43), "a".repeat(43)];
const person = (login: string, derivedToken: string) => ({ userId: login, login, admin: false, derivedToken });

type Header = { header: { key: string; value: string }; append_action: number };
type Reply = {
  status: { code: number };
  ok_response?: { headers: Header[]; headers_to_remove: string[] };
  denied_response?: { status: { code: number }; headers: Header[]; body: string };
};
type Question = { target?: string; method?: string; headers?: Record<string, string>; from?: string; raw?: boolean };

/** As Envoy writes it. `raw`: with `encode_raw_headers`. */
function checkRequest({ target = `${PATH}/`, method = "GET", headers = {}, from = "192.0.2.7", raw = true }: Question): Uint8Array {
  const all = {
    ":method": method,
    ":path": target,
    ":authority": "stand.example",
    ":scheme": "https",
    "x-forwarded-proto": "https",
    "x-forwarded-for": from,
    "x-request-id": "1d2c3b4a-0000-4000-8000-000000000001",
    authorization: ADA,
    ...headers,
  };
  const list = Object.entries(all).filter(([, value]) => value !== "");
  const socket = (address: string) => ({ address: { socket_address: { address, port_value: 4711 } } });
  const http = {
    id: "1",
    method,
    path: target,
    host: "stand.example",
    scheme: "https",
    size: -1,
    protocol: "HTTP/2",
    body: "unread",
    ...(raw
      ? { header_map: { headers: list.map(([key, value]) => ({ key, raw_value: Buffer.from(value, "latin1") })) } }
      : { headers: Object.fromEntries(list) }),
  };
  const attributes = {
    source: { ...socket(from), principal: "spiffe://x" },
    destination: socket("192.0.2.1"),
    request: { time: { seconds: 1_764_579_600, nanos: 5 }, http },
    context_extensions: { virtual_host: "stand" },
    tls_session: { sni: "stand.example" },
  };
  return CHECK_REQUEST.encode(CHECK_REQUEST.fromObject({ attributes })).finish();
}

const asBytes = (bytes: Buffer) => bytes;
const METHOD = { requestStream: false, responseStream: false, requestSerialize: asBytes, requestDeserialize: asBytes };
const Client = grpc.makeGenericClientConstructor(
  {
    check: {
      ...METHOD,
      path: "/envoy.service.auth.v3.Authorization/Check",
      responseSerialize: asBytes,
      responseDeserialize: (bytes: Buffer) => CHECK_RESPONSE.toObject(CHECK_RESPONSE.decode(bytes), { arrays: true }) as Reply,
    },
    health: { ...METHOD, path: "/grpc.health.v1.Health/Check", responseSerialize: asBytes, responseDeserialize: asBytes },
    other: { ...METHOD, path: "/envoy.service.auth.v3.Authorization/Other", responseSerialize: asBytes, responseDeserialize: asBytes },
  },
  "Authorization",
);

async function open(t: Test, callout: Partial<CalloutOptions> = {}, options: Partial<NonNullable<Parameters<typeof openStand>[1]>> = {}) {
  const recorded: string[] = [];
  const stand = await openStand(t, {
    forwarder: "splice",
    watchers: [({ labels, status, ending, protocol }) => recorded.push(`${labels.route} ${protocol} ${status} ${ending}`)],
    ...options,
    callout: { secret: SECRET, ...callout },
  });
  const { port = 0 } = stand.gateway.callout ?? {};
  stand.tokens.set(ADA, person("ada", ADAS_DERIVED));
  stand.set(ID, { kind: "awake", address: ADDRESS });
  const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  t.teardown(() => client.close());
  type Call = (
    bytes: Buffer,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, reply: Reply) => void,
  ) => grpc.ClientUnaryCall;
  const call = (method: string, bytes: Uint8Array, shown: string[] = [SECRET], options: grpc.CallOptions = {}) => {
    const metadata = new grpc.Metadata();
    for (const secret of shown) metadata.add("x-berth-callout-secret", secret);
    let sent: grpc.ClientUnaryCall | undefined;
    const reply = new Promise<Reply>((resolve, reject) => {
      sent = (client[method] as Call).call(client, Buffer.from(bytes), metadata, options, (error, value) =>
        error === null ? resolve(value) : reject(error),
      );
    });
    return Object.assign(reply, { cancel: () => sent?.cancel() });
  };
  const check = (question: Question = {}, ...rest: [shown?: string[], options?: grpc.CallOptions]) => call("check", checkRequest(question), ...rest);
  return { stand, port, call, check, recorded };
}

/** The headers of a reply by name, as Envoy sets them. */
function headersOf(headers: readonly Header[] = []): Record<string, string> {
  return Object.fromEntries(headers.map(({ header }) => [header.key, header.value]));
}

for (const sockets of ["node", "ffi"] satisfies SocketKind[])
  t.test(`a permitted request gets the address and the headers that the container shall see, on ${sockets} sockets`, async (t) => {
    const { check, recorded } = await open(t, {}, { sockets });
    for (const raw of [true, false]) {
      const reply = await check({
        raw,
        target: `${PATH}/a//b/%2e%2e/c?d=e`,
        headers: {
          authorization: `Bearer ${ADA}`,
          cookie: `own=\xc3\xbc; auth=${ADA}; berth-console=x`,
          "x-forwarded-for": "203.0.113.9, 192.0.2.7",
          "x-real-ip": "203.0.113.9",
          "x-berth-upstream": "10.9.9.9:1",
          "x-berth-callout-secret": "x",
          "x-berth-no-wake": "0",
        },
      });
      t.equal(reply.status.code, grpc.status.OK);
      t.same(headersOf(reply.ok_response?.headers)["x-envoy-original-dst-host"], "10.1.2.3:5000");
      t.match(headersOf(reply.ok_response?.headers), {
        authorization: `Bearer ${ADAS_DERIVED}`,
        "x-user-api-key": ADAS_DERIVED,
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-host": "stand.example",
        traceparent: /^00-/,
      });
      t.ok(
        reply.ok_response?.headers.every(({ append_action: action }) => action === 2),
        "each replaces the client's",
      );
      const { headers_to_remove: removed = [] } = reply.ok_response ?? {};
      for (const name of ["x-real-ip", "x-berth-upstream", "x-berth-callout-secret"]) t.ok(removed.includes(name), name);
      t.notOk(removed.includes("x-berth-no-wake"), "which is for containers, too");
      t.notOk(JSON.stringify(reply).includes(ADA), "the session's own token does not reach the container");
    }
    t.same(recorded, ["callout h2 200 answered", "callout h2 200 answered"]);
  });

t.test("a connection of HTTP/2 without questions is closed after a while", async (t) => {
  const { port } = await open(t, {}, { limits: { keepAliveTimeoutMs: 300 } });
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  t.teardown(() => session.destroy());
  await eventually("the end of the connection", () => session.destroyed);
});

t.test("cookies keep their bytes, whatever their coding", async (t) => {
  const { check } = await open(t);
  const cookieOf = async (cookie: string) => {
    const { ok_response: ok, denied_response: denied } = await check({ headers: { cookie } });
    return denied?.status.code ?? headersOf(ok?.headers)["cookie"];
  };
  t.equal(await cookieOf(`own=\xc3\xbc; auth=${ADA}`), `own=ü; auth=${ADAS_DERIVED}`);
  t.equal(await cookieOf("own=\xfc"), undefined, "Envoy keeps what does not change");
  t.equal(await cookieOf(`own=\xfc; auth=${ADA}`), 400, "gRPC cannot express it");
});

t.test("a sleeping container is woken, and the question held until it is ready", async (t) => {
  const { check, stand } = await open(t);
  stand.set(ID, { kind: "asleep" });
  const pending = check();
  await eventually("a wake", () => stand.wakes.includes(ID));
  stand.set(ID, { kind: "awake", address: ADDRESS });
  t.match(headersOf((await pending).ok_response?.headers), { "x-envoy-original-dst-host": "10.1.2.3:5000" });
});

t.test("a refusal has the status, the sentence and the Retry-After of the HTTP variant", async (t) => {
  const { check, port, stand } = await open(t);
  stand.tokens.set("slow", new Fault("TOO_MANY_ATTEMPTS", "wait", { retryAfterMs: 2_000 }));
  stand.tokens.set("away", new Fault("CONTROL_AWAY", "control is away", { retryAfterMs: 3_000 }));
  stand.set(OTHER_ID, { kind: "portless" });
  const gone = PATH.replace(ID, "00000000-0000-4000-8000-000000000009");
  const rows: [question: Question, status: number, retryAfter?: string][] = [
    [{ headers: { authorization: "wrong" } }, 401],
    [{ method: "POST", headers: { authorization: "", cookie: `auth=${ADA}`, origin: "https://evil.example" } }, 403],
    [{ target: `${gone}/` }, 404],
    [{ headers: { authorization: "slow" } }, 429, "2"],
    [{ headers: { authorization: "away" } }, 503, "3"],
    [{ target: `${PATH.replace(ID, OTHER_ID)}/` }, 400],
    [{ target: `${PATH}/\u00fc` }, 400],
    [{ headers: { "x-forwarded-proto": "" } }, 400],
  ];
  for (const [question, status, retryAfter] of rows) {
    const { status: rpc, ok_response: ok, denied_response: denied } = await check(question);
    const what = JSON.stringify(question);
    t.notOk(ok, what);
    t.not(rpc.code, grpc.status.OK, what);
    t.equal(denied?.status.code, status, what);
    const headers = headersOf(denied?.headers);
    t.match(JSON.parse(denied?.body ?? ""), { "datagrok-error": /./ }, what);
    t.match(headers, { "x-berth-status": String(status), "content-type": "application/json" });
    t.equal(headers["retry-after"], retryAfter, what);
    t.notOk("content-length" in headers, "which Envoy writes");
    if (!/^[\x21-\x7e]*$/.test(question.target ?? "")) continue;
    const overHttp = await askOverHttp(port, question);
    t.match(overHttp, { status, body: denied?.body }, what);
  }
});

t.test("what the edge answers or carries, Envoy sends there, whatever address a client names", async (t) => {
  const { check, port, stand } = await open(t);
  stand.publish({ id: OTHER_ID, name: "model", availability: { kind: "awake", addresses: [ADDRESS] }, maxConcurrency: 1 });
  const questions: Question[] = [
    { target: "/api/users" },
    { target: `${WS_PATH}/` },
    { headers: { "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" } },
    { target: `${PATH.replace(ID, OTHER_ID)}/` },
  ];
  for (const question of questions) {
    const { status, ok_response: ok, denied_response: denied } = await check(question);
    const what = JSON.stringify(question);
    t.same([status.code, denied], [grpc.status.OK, undefined], what);
    t.same(headersOf(ok?.headers), { "x-berth-edge": "1" }, what);
    t.same(ok?.headers_to_remove, ["x-envoy-original-dst-host"], what);
    t.match(await askOverHttp(port, question), { status: 200, body: "" }, what);
  }
});

/** The same question as Envoy sends it over HTTP. */
function askOverHttp(port: number, { target = `${PATH}/`, method = "GET", headers = {} }: Question): Promise<{ status: number; body: string }> {
  const lines = { host: "stand.example", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", authorization: ADA, ...headers };
  const sent = Object.fromEntries(Object.entries({ ...lines, "x-berth-callout-secret": SECRET }).filter(([, value]) => value !== ""));
  return new Promise((resolve, reject) => {
    const question = request({ port, host: "127.0.0.1", path: `/envoy${target}`, method, headers: sent, agent: false }, (response) => {
      let body = "";
      response.on("data", (piece) => (body += String(piece)));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    question.once("error", reject);
    question.end();
  });
}

t.test("Envoy knows the status of every fault", async (t) => {
  // Of envoy.type.v3.StatusCode, from 400.
  const statuses = [
    [400, 417],
    [421, 424],
    [426, 426],
    [428, 429],
    [431, 431],
    [500, 508],
    [510, 511],
  ] as const;
  for (const [code, [status]] of Object.entries(FAULTS))
    t.ok(
      statuses.some(([from, to]) => status >= from && status <= to),
      `${code} ${status}`,
    );
});

t.test("the client's address is the one that Envoy names, whatever the client wrote", async (t) => {
  const { check } = await open(t, {}, { trusted: ["192.0.2.7"] });
  const chain = async (from: string, lines: string) =>
    headersOf((await check({ from, headers: { "x-forwarded-for": lines } })).ok_response?.headers)["x-forwarded-for"];
  t.equal(await chain("198.51.100.1", "203.0.113.9, 198.51.100.1"), "198.51.100.1", "the chain of an untrusted client ends there");
  t.equal(await chain("198.51.100.1", "203.0.113.9"), "198.51.100.1");
  t.equal(await chain("198.51.100.1", ""), "198.51.100.1");
  t.equal(await chain("192.0.2.7", "203.0.113.9"), "203.0.113.9, 192.0.2.7", "a trusted load balancer in front of Envoy");
  t.equal(await chain("192.0.2.7", "203.0.113.9, 192.0.2.7"), undefined, "Envoy's own line stays");
});

t.test("only one who knows the secret may ask", async (t) => {
  const { check, call } = await open(t);
  for (const shown of [[], ["wrong"], [SECRET, SECRET], [`${SECRET}, ${SECRET}`]]) {
    await t.rejects(check({}, shown), { code: grpc.status.PERMISSION_DENIED });
    await t.rejects(call("health", Buffer.alloc(0), shown), { code: grpc.status.PERMISSION_DENIED });
  }
  t.match(await check(), { status: { code: 0 } });
});

t.test("what is not a question of Envoy's gets a status of gRPC, and the connection goes on", async (t) => {
  const { call, check, recorded } = await open(t);
  const encode = (attributes: object) => CHECK_REQUEST.encode(CHECK_REQUEST.fromObject({ attributes })).finish();
  const whole = checkRequest({});
  const http = { method: "GET", path: `${PATH}/`, host: "a" };
  const source = { address: { socket_address: { address: "192.0.2.7" } } };
  const rows: [what: string, bytes: Uint8Array, code: number][] = [
    ["no message", Buffer.alloc(0), grpc.status.INVALID_ARGUMENT],
    ["bytes of another kind", Buffer.from("not protobuf"), grpc.status.INVALID_ARGUMENT],
    ["a message that breaks off", whole.subarray(0, whole.length - 3), grpc.status.INVALID_ARGUMENT],
    ["groups within groups", Buffer.alloc(200_000, 0x13), grpc.status.INVALID_ARGUMENT],
    ["a connection of TCP", encode({ source }), grpc.status.INVALID_ARGUMENT],
    ["a listener on a pipe", encode({ source: { address: { pipe: { path: "/x" } } }, request: { http } }), grpc.status.INVALID_ARGUMENT],
    ["a header with another line", checkRequest({ headers: { "x-a": "b\r\nx-c: d" } }), grpc.status.INVALID_ARGUMENT],
    ["too many bytes", Buffer.alloc(300_000), grpc.status.RESOURCE_EXHAUSTED],
  ];
  for (const [what, bytes, code] of rows) await t.rejects(call("check", bytes), { code }, what);
  await t.rejects(call("other", whole), { code: grpc.status.UNIMPLEMENTED });
  for (let cut = 1; cut < whole.length; cut += 7) {
    const reply = await call("check", whole.subarray(0, cut)).catch((error: grpc.ServiceError) => error);
    if (reply instanceof Error) t.match(reply, { code: grpc.status.INVALID_ARGUMENT }, `${cut} bytes`);
    else t.ok(reply.denied_response ?? reply.ok_response, `${cut} bytes`);
  }
  t.match(await check(), { status: { code: 0 } });
  t.ok(recorded.includes("callout h2 0 cut"));
});

t.test("unknown fields are skipped", async (t) => {
  const { call } = await open(t);
  // Field 99 of each kind of the wire.
  const unknown = Buffer.from([0x98, 0x06, 0x01, 0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x9a, 0x06, 3, 1, 2, 3, 0x9d, 0x06, 1, 2, 3, 4]);
  t.match(await call("check", Buffer.concat([unknown, checkRequest({}), unknown])), { status: { code: 0 } });
});

t.test("an Envoy that gives up, or whose time is over, holds nothing", async (t) => {
  const { check, stand, recorded } = await open(t);
  stand.set(ID, { kind: "asleep" });
  const pending = check();
  await eventually("the held question", () => stand.openAt(ID).count === 1);
  pending.cancel();
  await t.rejects(pending, { code: grpc.status.CANCELLED });
  await eventually("no question", () => stand.openAt(ID).count === 0);
  await t.rejects(check({}, [SECRET], { deadline: Date.now() + 50 }), { code: grpc.status.DEADLINE_EXCEEDED });
  await eventually("no question", () => stand.openAt(ID).count === 0 && recorded.filter((one) => one.endsWith("left")).length === 2);
  const broken = check();
  await eventually("the held question", () => stand.openAt(ID).count === 1);
  stand.clients.at(-1)?.destroy();
  await t.rejects(broken, { code: grpc.status.UNAVAILABLE });
  await eventually("no question", () => stand.openAt(ID).count === 0);
});

t.test("a hundred questions at once each get their own answer", async (t) => {
  const { check, stand } = await open(t);
  const users = Array.from({ length: 100 }, (_, at) => ({ token: String(at).padStart(43, "T"), derived: String(at).padStart(43, "d") }));
  for (const [at, { token, derived }] of users.entries()) stand.tokens.set(token, person(`user${at}`, derived));
  stand.set(ID, { kind: "asleep" });
  const pending = users.map(({ token }) => check({ headers: { authorization: token } }));
  await eventually("all are held", () => stand.openAt(ID).count === 100);
  stand.set(ID, { kind: "awake", address: ADDRESS });
  const replies = await Promise.all(pending);
  t.same(
    replies.map(({ ok_response: ok }) => headersOf(ok?.headers)["authorization"]),
    users.map(({ derived }) => derived),
  );
  t.equal(stand.wakes.filter((id) => id === ID).length, 1);
});

t.test("health of the service", async (t) => {
  const { call } = await open(t);
  t.same(await call("health", Buffer.alloc(0)), Buffer.from([8, 1]), "SERVING");
});

t.test("a gateway that ends answers the open question first", async (t) => {
  const { check, stand } = await open(t);
  stand.set(ID, { kind: "asleep" });
  const pending = check();
  await eventually("the held question", () => stand.openAt(ID).count === 1);
  const drained = stand.gateway.drain(30_000);
  stand.set(ID, { kind: "awake", address: ADDRESS });
  t.match(await pending, { status: { code: 0 } });
  await drained;
  await t.rejects(check({}, [SECRET], { deadline: Date.now() + 1_000 }));
});

t.test("bytes that only begin as HTTP/2 end the connection", async (t) => {
  const { port } = await open(t);
  const session = connect(`http://127.0.0.1:${port}`);
  t.teardown(() => session.destroy());
  session.on("error", () => undefined);
  const stream = session.request({ ":path": "/decide" });
  stream.on("error", () => undefined);
  const status = await new Promise((resolve) => {
    stream.once("response", (headers) => resolve(headers[":status"]));
    stream.once("close", () => resolve(undefined));
  });
  t.equal(status, 415, "only gRPC is spoken there");
});
