import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import t from "tap";
import { Fault } from "../../lib/fault.ts";

import type { Availability } from "../../gateway/contract.ts";
import { bodyOf, exchange, get, ID, openContainer, openRawContainer, openStand, PATH, WS_PATH } from "./stand.ts";

import { listen } from "../fixtures/server.ts";

import { eventually } from "../fixtures/eventually.ts";

type Answered = { status: number; reason: string; type: string | undefined; sentence: unknown; headers: IncomingMessage["headers"] };

function ask(port: number, path: string, headers: Record<string, string>, method = "GET"): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ port, path, method, headers, agent: false }, async (response) => {
      const text = (await bodyOf(response)).toString();
      resolve({
        status: response.statusCode ?? 0,
        reason: response.statusMessage ?? "",
        type: response.headers["content-type"],
        sentence: text === "" ? undefined : JSON.parse(text)["datagrok-error"],
        headers: response.headers,
      });
    });
    request.once("error", reject);
    request.end();
  });
}

const SIGNED_IN = { authorization: "token" };
const UNKNOWN_ID = "00000000-0000-0000-0000-000000000000";

t.test("every failure of the system has its status, reason, exact content type and sentence", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 150 } });
  const mute = await openRawContainer(t, () => undefined);
  const rude = await openRawContainer(t, (socket) => socket.once("data", () => socket.destroy()));
  const babbling = await openRawContainer(t, (socket) => socket.once("data", () => socket.end("what?\r\n\r\n")));
  const odd = await openRawContainer(t, (socket) => socket.once("data", () => socket.end("HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n")));
  const failed: Availability = {
    kind: "failed",
    fault: { code: "CONTAINER_CRASHED", message: "It exited with 1", logs: ['line "one"', "line two"] },
    wakeable: false,
    retryAt: 0,
  };
  const refusing = { host: "127.0.0.1", port: 1 };
  type Row = { name: string; availability?: Availability; path?: string; headers?: Record<string, string>; status: number; reason: string };
  const rows: Row[] = [
    { name: "no token", headers: {}, status: 401, reason: "Authentication required" },
    { name: "a bad token", headers: { authorization: "bad" }, status: 401, reason: "Token is not valid" },
    { name: "an unknown id", path: PATH.replace("1b9f", "ffff"), status: 404, reason: "Container not found" },
    { name: "the all-zero id", path: PATH.replace(ID, UNKNOWN_ID), status: 404, reason: "Container not found" },
    { name: "an id that is no UUID", path: PATH.replace(ID, "demo"), status: 400, reason: "Id is not a UUID" },
    { name: "no id", path: PATH.replace(ID, ""), status: 400, reason: "Id is not a UUID" },
    { name: "plain HTTP on the WebSocket route", path: WS_PATH, status: 400, reason: "Bad request" },
    {
      name: "stopped",
      availability: { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "It is stopped" } },
      status: 400,
      reason: "Container is not running",
    },
    { name: "portless", availability: { kind: "portless" }, status: 400, reason: "Container exposes no port" },
    { name: "its start failed", availability: failed, status: 500, reason: "Container crashed" },
    { name: "it refuses the connection", availability: { kind: "awake", addresses: [refusing] }, status: 502, reason: "Container unreachable" },
    { name: "it breaks the connection", availability: { kind: "awake", addresses: [rude] }, status: 502, reason: "Container broke the connection" },
    { name: "it speaks no HTTP", availability: { kind: "awake", addresses: [babbling] }, status: 502, reason: "Container broke the connection" },
    { name: "its status is none", availability: { kind: "awake", addresses: [odd] }, status: 502, reason: "Container broke the connection" },
    { name: "not ready in time", availability: { kind: "coming" }, status: 504, reason: "Container not ready in time" },
    { name: "no response head in time", availability: { kind: "awake", addresses: [mute] }, status: 504, reason: "Container did not answer in time" },
  ];
  for (const { name, availability, path = PATH, headers = SIGNED_IN, status, reason } of rows) {
    if (availability !== undefined) stand.set(ID, availability);
    const answer = await ask(stand.port, path, headers);
    t.match(answer, { status, reason, type: "application/json", sentence: /\w/ }, name);
    t.equal(answer.type, "application/json", `${name}: without a charset`);
  }
  t.equal(stand.uses.get(ID)?.open, 0, "nothing is left open");
});

t.test("a failed start answers with its cause and the last log lines", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, {
    kind: "failed",
    fault: { code: "CONTAINER_CRASHED", message: "It exited with 1", logs: ['line "one"', "line\ttwo"] },
    wakeable: true,
    retryAt: Date.now() + 60_000,
  });
  const answer = await ask(stand.port, PATH, SIGNED_IN);
  t.match(answer.sentence, /It exited with 1[^]*line "one"\nline\ttwo/);
  t.ok(Number(answer.headers["retry-after"]) > 50, "and says when it may be tried again");
  t.same(stand.wakes, [], "and is not started again before that");
});

t.test("a full queue answers at once and says when to come again", async (t) => {
  const stand = await openStand(t, { limits: { holdLimit: 1 } });
  stand.set(ID, { kind: "coming" });
  const first = new AbortController();
  const waiting = fetch(stand.base + PATH, { headers: SIGNED_IN, signal: first.signal }).catch(() => undefined);
  await eventually("it waits", () => stand.watchers(ID) > 0);
  const answer = await ask(stand.port, PATH, SIGNED_IN);
  t.match(answer, { status: 503, type: "application/json" });
  t.match(answer.headers["retry-after"], /^\d+$/);
  first.abort();
  await waiting;
});

t.test("unavailable control is a 503, not a 401", async (t) => {
  const stand = await openStand(t);
  stand.tokens.set("cached", new Fault("CONTROL_AWAY", "away", { retryAfterMs: 1_000 }));
  t.match(await ask(stand.port, PATH, { authorization: "cached" }), { status: 503, headers: { "retry-after": "1" } });
  t.match(await ask(stand.port, PATH, { "x-user-api-key": "cached", authorization: "token" }), { status: 404 }, "unless another credential is valid");
});

t.test("a wake that control refuses answers with its cause", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  stand.onWake(() => {
    throw new Fault("CONTROL_AWAY", "away");
  });
  t.match(await ask(stand.port, PATH, SIGNED_IN), { status: 503 });
});

t.test("a container's own 404 and 500 pass with their reason phrase", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (request, response) => {
    response.writeHead(Number(request.url?.slice(1)), "My Own Words", { "Content-Type": "text/plain; charset=utf-8" });
    response.end("{}");
  });
  stand.set(ID, { kind: "awake", address });
  for (const status of [404, 500]) {
    t.match(await ask(stand.port, `${PATH}/${status}`, SIGNED_IN), {
      status,
      reason: "My Own Words",
      type: "text/plain; charset=utf-8",
      sentence: undefined,
    });
  }
});

t.test("HEAD gets the status without a body", async (t) => {
  const stand = await openStand(t);
  t.match(await ask(stand.port, PATH, {}, "HEAD"), { status: 401, sentence: undefined });
});

t.test("what is no container route goes to the API, and is an ApiError while control is away", async (t) => {
  const stand = await openStand(t);
  const away = await exchange(stand.port, get("/api/users/current"));
  t.match(away, /^HTTP\/1\.1 503 /);
  t.match(away, /\r\ncontent-type: application\/json\r\n/i);
  t.match(JSON.parse(away.slice(away.indexOf("\r\n\r\n"))), { "#type": "ApiError", code: 503, message: /\w/, innerMessage: null });
  await listen(
    t,
    createServer((request, response) => response.end(`api ${request.method} ${request.url}`)),
    { path: stand.apiSocket },
  );
  t.match(await exchange(stand.port, get("/api//users/../current?x=%zz")), "api GET /api//users/../current?x=%zz");
  t.match(await exchange(stand.port, get(`/api/docker/containers/${ID}/run`)), `api GET /api/docker/containers/${ID}/run`);
});

t.test("ambiguous messages are refused and their connection is closed", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("reached"));
  stand.set(ID, { kind: "awake", address });
  const rows: [name: string, sent: string][] = [
    ["two Host headers", `GET ${PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: token\r\nhost: b\r\n\r\n`],
    ["no Host header", `GET ${PATH} HTTP/1.1\r\nAuthorization: token\r\n\r\n`],
    [
      "length and chunks",
      `POST ${PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: token\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["a second coding", `POST ${PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: token\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ["chunks in HTTP/1.0", `POST ${PATH} HTTP/1.0\r\nHost: a\r\nAuthorization: token\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["HTTP/2.0 in the words of 1.1", `GET ${PATH} HTTP/2.0\r\nHost: a\r\nAuthorization: token\r\n\r\n`],
    ["HTTP/0.9", `GET ${PATH} HTTP/0.9\r\nHost: a\r\nAuthorization: token\r\n\r\n`],
    ["no version", `GET ${PATH}\r\n\r\n`],
    ["bytes beyond ASCII in the target", `GET ${PATH}/\xe4 HTTP/1.1\r\nHost: a\r\nAuthorization: token\r\n\r\n`],
  ];
  for (const [name, sent] of rows) {
    const answer = await exchange(stand.port, Buffer.from(sent, "latin1"));
    // What is well formed and not spoken here has a status of its own.
    t.match(answer, /^HTTP\/1\.1 (400|501|505) /, name);
    t.match(answer, /\r\nConnection: close\r\n/i, name);
    t.notMatch(answer, /reached/, name);
  }
});
