import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { Agent, type IncomingMessage, request, type ServerResponse } from "node:http";
import { join } from "node:path";
import type { Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { setsCookie } from "../../../lib/cookies.ts";
import { EDITED_HEADERS } from "../../../gateway/callout/callout-response.ts";
import { freePort } from "../../fixtures/server.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { exchange, ID, openContainer, openStand, PATH, WS_PATH } from "../../gateway/stand.ts";

/** Where a proxy finds berth, and where it listens. */
export type ProxyPorts = { port: number; edge: number; callout: number; log: number; secret: string };

export type CalloutProxy = {
  name: string;
  /** Starts it; the function that it returns is called at the test's end. */
  start(t: Test, ports: ProxyPorts): Promise<{ errors(): string }>;
  /** How it tells berth which requests are open. */
  reports: "log" | "counts" | undefined;
  /** It cannot remove single cookies from responses. */
  keepsCookies?: true;
};

export const SECRET = "callout-secret-of-thirty-two-bytes";
const OTHER_ID = "2b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d22";
const OTHER_PATH = PATH.replace(ID, OTHER_ID);
const person = (login: string) => ({ userId: login, login, admin: false, derivedToken: login[0]!.toLowerCase().repeat(43) });
const [ADA, BOB] = ["A".repeat(43), "B".repeat(43)];
const DERIVED = { [ADA]: "a".repeat(43), [BOB]: "b".repeat(43) };

type Reply = { status: number; headers: NodeJS.Dict<string | string[]>; body: string };
type Echo = { container: string; method: string; url: string; headers: NodeJS.Dict<string | string[]>; lines: string[]; body: string };

/** Starts a program that ends with this test. */
export async function startProgram(
  t: Test,
  command: string,
  args: string[],
  options: { errorLog?: string; port: number },
): Promise<{ errors(): string }> {
  const { errorLog, port } = options;
  // Should this test be killed, the kernel ends it.
  const program = spawn("setpriv", ["--pdeathsig=TERM", command, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, HOME: "/tmp" },
  });
  let output = "";
  for (const stream of [program.stdout, program.stderr]) stream.on("data", (piece) => (output = (output + String(piece)).slice(-20_000)));
  const errors = () => output + (errorLog !== undefined && existsSync(errorLog) ? readFileSync(errorLog, "utf8") : "");
  t.teardown(async () => {
    if (program.exitCode !== null || program.signalCode !== null) return;
    program.kill("SIGTERM");
    await once(program, "exit");
  });
  await eventually(
    () => `${command} listens:\n${errors()}`,
    async () => {
      if (program.exitCode !== null) throw new Error(`${command} does not start:\n${errors()}`);
      return fetch(`http://127.0.0.1:${port}/nowhere`).catch(() => undefined);
    },
  );
  return { errors };
}

/** A gateway with callouts, two containers and the proxy in front. */
export async function openFront(t: Test, proxy: CalloutProxy, options: { activeMs?: number } = {}) {
  const [port, log] = [await freePort(), await freePort()];
  const decided: number[] = [];
  const reported: { target: string; status: number }[] = [];
  const stand = await openStand(t, {
    forwarder: "splice",
    watchers: [
      ({ head, status }) => {
        const { target = "" } = head ?? {};
        if (target.startsWith("/decide")) decided.push(status);
        if (target.startsWith("/report")) reported.push({ target, status });
      },
    ],
    callout: {
      secret: SECRET,
      activeMs: options.activeMs ?? 60_000,
      logs: proxy.reports === "log" ? { port: log, openMs: 3_600_000 } : undefined,
    },
  });
  for (const login of ["Ada", "Bob"]) stand.tokens.set(login[0]!.repeat(43), person(login));
  const reached: Echo[] = [];
  const held: ServerResponse[] = [];
  const open = async (container: string) => {
    const { address, server } = await openContainer(t, (pending, response) => void answer(container, reached, held, pending, response));
    const sockets = new WebSocketServer({ server });
    sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(`${container}: ${String(data)}`)));
    return address;
  };
  const [first, second] = [await open("first"), await open("second")];
  stand.set(ID, { kind: "awake", address: first });
  stand.set(OTHER_ID, { kind: "awake", address: second });
  const { errors } = await proxy.start(t, { port, edge: stand.port, callout: stand.gateway.callout?.port ?? 0, log, secret: SECRET });
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  t.teardown(() => agent.destroy());
  const send = (path: string, headers: Record<string, string | string[]> = {}, { method = "GET", body }: { method?: string; body?: string } = {}) =>
    new Promise<Reply>((resolve, reject) => {
      const pending = request(
        { port, host: "127.0.0.1", path, headers: { host: "stand.example", authorization: ADA, ...headers }, method, agent },
        (response) => {
          let text = "";
          response.on("data", (piece) => (text += String(piece)));
          response.once("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
        },
      );
      pending.once("error", reject);
      pending.end(body);
    });
  const echo = async (...args: Parameters<typeof send>): Promise<Echo> => {
    const { status, body } = await send(...args);
    if (status !== 200) throw new Error(`${args[0]} gets ${status} ${body}\n${errors()}`);
    return JSON.parse(body) as Echo;
  };
  return { stand, decided, reported, port, send, echo, reached, held, first, second, errors };
}

async function answer(container: string, reached: Echo[], held: ServerResponse[], pending: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = "", method = "", headers, rawHeaders } = pending;
  let body = "";
  for await (const piece of pending) body += String(piece);
  const echo = { container, method, url, headers, lines: rawHeaders, body };
  reached.push(echo);
  if (url.includes("hold")) {
    response.writeHead(200, { "content-type": "text/event-stream" }).write("data: open\n\n");
    return void held.push(response);
  }
  if (url.includes("plant"))
    response
      .setHeader("set-cookie", ["berth-console=planted; Path=/", "own=1", " =berth-registry=planted"])
      .setHeader("service-worker-allowed", "/")
      .setHeader("clear-site-data", '"*"')
      .setHeader("nel", '{"report_to":"a","max_age":86400}')
      .setHeader("strict-transport-security", "max-age=86400")
      .setHeader("x-berth-busy", new URLSearchParams(url.split("?")[1]).get("busy") ?? "5");
  response.setHeader("x-accel-redirect", "/api/users").end(JSON.stringify(echo));
}

/** Everything that holds whatever proxy asks. */
export function calloutCases(t: Test, proxy: CalloutProxy): void {
  t.test("a request goes from the proxy straight to the container, with the derived token", async (t) => {
    const { echo, stand, port } = await openFront(t, proxy);
    const { url, headers, container, lines } = await echo(`${PATH}/a?b=c`, {
      "x-forwarded-for": "1.1.1.1",
      forwarded: "for=1.1.1.1",
      "x-real-ip": "1.1.1.1",
    });
    t.match({ url, container }, { url: "/a?b=c", container: "first" });
    t.match(headers, {
      host: "stand.example",
      authorization: DERIVED[ADA],
      "x-user-api-key": DERIVED[ADA],
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "stand.example",
      "x-request-id": /^[\da-f]{32}$/,
      traceparent: /^00-[\da-f]{32}-/,
    });
    t.notOk(headers["x-real-ip"] || headers["forwarded"], "what a client claims about itself");
    t.notOk(lines.join("\n").includes(ADA), "the session's own token");
    t.notOk(lines.join("\n").includes(SECRET));
    t.equal(stand.containers.length, 0, "berth carried nothing");
    const posted = await echo(`${PATH}/post`, { "content-type": "text/plain" }, { method: "POST", body: "x".repeat(300_000) });
    t.match({ method: posted.method, length: posted.body.length }, { method: "POST", length: 300_000 });
    const cookie = await echo(`${PATH}/`, { authorization: [], cookie: `auth=${ADA}; berth-console=secret; own=1` });
    t.equal(cookie.headers["cookie"], `auth=${DERIVED[ADA]}; own=1`);
    t.notOk(cookie.headers["authorization"]);
    const chunked = await exchange(
      port,
      `POST ${PATH}/ HTTP/1.1\r\nHost: a\r\nAuthorization: ${ADA}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    );
    t.match(chunked, /"body":"abc"/);
    t.equal(stand.containers.length, 0);
  });

  t.test("a path reaches the container as the edge would send it, or not at all", async (t) => {
    const { port, stand, reached } = await openFront(t, proxy);
    const raw = (to: number, path: string) =>
      exchange(to, `GET ${path} HTTP/1.1\r\nHost: stand.example\r\nAuthorization: ${ADA}\r\nConnection: close\r\n\r\n`);
    for (const path of [
      PATH,
      `${PATH}?a`,
      `${PATH}//a//b`,
      `${PATH}/%2e%2e/b%2Fc%5c`,
      `${PATH}/a/./b/../c`,
      `${PATH}/../${OTHER_ID}/x`,
      `${PATH}/%2e%2e/${OTHER_ID}/x`,
      `${PATH}/..%2f${OTHER_ID}/x`,
      `${PATH}/a?b=%20+c&&d=/../`,
      `${PATH}/%C3%BC;p=1,2?x=%zz`,
      `${PATH}/a%00b`,
      `${PATH}/%0d%0aX-Injected:%201`,
      `/x/..${PATH}/a`,
      `//api/docker/containers/proxy/${ID}/a`,
      `/%61pi/docker/containers/proxy/${ID}/a`,
      `${PATH.toUpperCase().replace("/API/DOCKER/CONTAINERS/PROXY", "/api/docker/containers/proxy")}/a`,
      `${PATH}/a?${PATH.replace(ID, OTHER_ID)}`,
      `http://stand.example${PATH}/a`,
    ]) {
      reached.length = 0;
      const response = await raw(port, path);
      const byProxy = reached.splice(0);
      await raw(stand.port, path);
      const byEdge = reached.splice(0);
      const targets = byProxy.map(({ container, url }) => `${container} ${url}`);
      if (targets.length === 0) t.match(response, /^HTTP\/1\.1 [345]|^$/, `${path} is refused`);
      else
        t.same(
          targets,
          byEdge.map(({ container, url }) => `${container} ${url}`),
          path,
        );
      t.notOk(
        byProxy.some(({ headers }) => "x-injected" in headers),
        path,
      );
    }
  });

  t.test("what a client writes in the names of berth or of the proxy changes nothing", async (t) => {
    const { echo, port, second, errors } = await openFront(t, proxy);
    const away = `127.0.0.1:${second.port}`;
    const forged = {
      "x-berth-upstream": away,
      "x-berth-path": "/forged",
      "x-berth-status": "200",
      "x-berth-container": OTHER_ID,
      "x-berth-lease": "forged",
      "x-berth-vary": "forged",
      ...Object.fromEntries(Object.values(EDITED_HEADERS).map((name) => [name.toLowerCase(), "forged"])),
      "x-berth-callout-secret": SECRET,
      "x-berth-proxy": "forged",
    };
    const { container, url, headers } = await echo(`${PATH}/a`, {
      ...forged,
      x_user_api_key: "forged",
      "x-user_api_key": "forged",
      "x_user-api-key": "forged",
      "x-forwarded_for": "forged",
      x_berth_upstream: away,
    });
    t.match({ container, url }, { container: "first", url: "/a" });
    t.same(
      Object.entries(headers).filter(([, value]) => String(value).includes("forged") || String(value).includes(away)),
      [],
    );
    t.same(
      Object.keys(headers).filter((name) => name.startsWith("x-berth-") || name.includes("_")),
      [],
    );
    // The question's own headers: they are the proxy's, or the request is refused.
    for (const [name, value] of [
      ["x-forwarded-uri", `${OTHER_PATH}/`],
      ["x-original-uri", `${OTHER_PATH}/`],
      ["x-forwarded-method", "OPTIONS"],
      ["x-original-method", "OPTIONS"],
      ["x-forwarded-proto", "https"],
      ["x-forwarded-host", "evil.example"],
    ] as const) {
      const reply = await exchange(
        port,
        `GET ${PATH}/a HTTP/1.1\r\nHost: a\r\nAuthorization: ${ADA}\r\nConnection: close\r\n${name}: ${value}\r\n\r\n`,
      );
      if (reply.startsWith("HTTP/1.1 200")) t.match(reply, /"container":"first".*"x-forwarded-proto":"http"/s, `${name}\n${errors()}`);
      else t.match(reply, /^HTTP\/1\.1 4/, name);
      t.notMatch(reply, /evil\.example","x-forwarded|x-forwarded-host":"evil/, name);
    }
    // A client may name headers that a proxy removes as hop-by-hop: none of them may bring back what berth replaced.
    const nominated = await exchange(
      port,
      `GET ${PATH}/a HTTP/1.1\r\nHost: a\r\nAuthorization: ${ADA}\r\nConnection: close, authorization, x-user-api-key, x-forwarded-uri, x-original-uri, x-berth-callout-secret\r\n\r\n`,
    );
    t.notMatch(nominated, new RegExp(`:\\s*"${ADA}`));
  });

  t.test("two users on one connection never get each other's identity", async (t) => {
    const { echo, send } = await openFront(t, proxy);
    for (let round = 0; round < 10; round++)
      for (const token of [ADA, BOB]) {
        t.equal((await echo(`${PATH}/${round}`, { authorization: token })).headers["x-user-api-key"], DERIVED[token]);
        t.equal((await echo(`${PATH}/${round}`, { authorization: [], "x-user-api-key": token })).headers["x-user-api-key"], DERIVED[token]);
        const both = await echo(`${PATH}/${round}`, { authorization: token, cookie: `auth=${token === ADA ? BOB : ADA}` });
        t.equal(both.headers["authorization"], DERIVED[token]);
        t.equal(both.headers["cookie"], `auth=${DERIVED[token === ADA ? BOB : ADA]}`);
      }
    t.equal((await send(`${PATH}/`, { authorization: [] })).status, 401);
    t.equal((await send(`${PATH}/`, { authorization: ADA.slice(1) })).status, 401);
    const foreign = { authorization: [] as string[], cookie: `auth=${ADA}`, origin: "https://evil.example" };
    t.equal((await send(`${PATH}/`, { ...foreign, origin: "http://stand.example" }, { method: "POST", body: "x" })).status, 200);
    t.equal((await send(`${PATH}/`, foreign, { method: "POST", body: "x" })).status, 403, "a page of a foreign origin");
  });

  t.test("a request wakes its container through the proxy, and refusals keep their sentence", async (t) => {
    const { echo, send, stand, first, errors } = await openFront(t, proxy);
    stand.set(ID, { kind: "asleep" });
    const pending = echo(`${PATH}/woken`, {}, { method: "POST", body: "kept" });
    await eventually(
      () => `a wake:\n${errors()}`,
      () => stand.wakes.includes(ID),
    );
    stand.set(ID, { kind: "awake", address: first });
    t.match(await pending, { url: "/woken", body: "kept" });
    stand.remove(OTHER_ID);
    const gone = await send(`${OTHER_PATH}/`);
    t.equal(gone.status, 404);
    t.match(JSON.parse(gone.body), { "datagrok-error": /no container/ });
    stand.set(ID, { kind: "portless" });
    await eventually("its sentence", async () => (await send(`${PATH}/`)).status === 400);
    t.match((await send(`${PATH}/`)).body, /exposes no port/);
  });

  t.test("a container that moved, and a user who signed out, are noticed in time", async (t) => {
    const { echo, send, stand, second, errors } = await openFront(t, proxy);
    await echo(`${PATH}/`);
    stand.set(ID, { kind: "awake", address: second });
    const moved = performance.now();
    await eventually("the other address", async () => (await echo(`${PATH}/`)).container === "second");
    t.ok(performance.now() - moved < 3_000);
    t.equal((await echo(`${PATH}/`, { authorization: BOB })).headers["x-user-api-key"], DERIVED[BOB]);
    stand.signOut(ADA);
    const ended = performance.now();
    await eventually(
      () => `a refusal:\n${errors()}`,
      async () => (await send(`${PATH}/`)).status === 401,
    );
    t.ok(performance.now() - ended < 10_000, "within the bound of revocations");
    t.equal((await send(`${PATH}/`, { authorization: BOB })).status, 200);
  });

  t.test("WebSockets of both routes pass, and end with their user's session", async (t) => {
    const { port, stand, errors } = await openFront(t, proxy);
    for (const path of [PATH, WS_PATH]) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}/ws`, { headers: { authorization: BOB } });
      const messages: string[] = [];
      socket.on("message", (data) => messages.push(String(data)));
      socket.on("error", (error) => t.comment(`${path}: ${error.message}\n${errors()}`));
      await once(socket, "open");
      if (path === WS_PATH) await eventually("CONNECTED", () => messages.includes("CONNECTED"));
      socket.send("hello");
      await eventually("an answer", () => messages.includes("first: hello"));
      const closed = once(socket, "close");
      stand.signOut(BOB);
      await closed;
      t.pass(`${path} is closed`);
      stand.tokens.set(BOB, person("Bob"));
    }
  });

  t.test("a container's response cannot affect other containers or berth's consoles", async (t) => {
    const { send } = await openFront(t, proxy);
    const { headers } = await send(`${PATH}/plant`);
    for (const name of ["service-worker-allowed", "clear-site-data", "nel", "strict-transport-security", "x-berth-busy"])
      t.notOk(headers[name], name);
    t.notOk(Object.keys(headers).some((name) => name.startsWith("x-berth-")));
    const cookies = [headers["set-cookie"] ?? []].flat();
    t.ok(cookies.includes("own=1"));
    if (proxy.keepsCookies !== true) t.notOk(cookies.some((line) => setsCookie(line, ["berth-console", "berth-registry"])));
  });

  if (proxy.reports === "counts")
    t.test("a container that reports an invalid busy time spoils no report of others", async (t) => {
      const { send, reported } = await openFront(t, proxy);
      const times = (id: string) =>
        reported.flatMap(({ target }) => [...target.matchAll(new RegExp(`${id}:\\d+:\\d+:([^,]*)`, "g"))].map(([, time]) => time));
      for (const [invalid, valid] of [
        ["12345678", "7"],
        ["-1", "8"],
      ] as const) {
        await send(`${PATH}/plant?busy=${invalid}`);
        await send(`${OTHER_PATH}/plant?busy=${valid}`);
        await eventually("the other's time", () => times(OTHER_ID).includes(valid));
      }
      t.same(times(ID), []);
      t.same(
        reported.filter(({ status }) => status !== 200),
        [],
      );
    });

  t.test("an open response keeps its container in use, and its end is noticed", async (t) => {
    const { port, stand, held } = await openFront(t, proxy, { activeMs: proxy.reports === undefined ? 2_000 : 3_000 });
    const uses = () => stand.uses.get(ID)?.open;
    const open = exchange(port, `GET ${PATH}/hold HTTP/1.1\r\nHost: a\r\nAuthorization: ${ADA}\r\nConnection: close\r\n\r\n`);
    await eventually("the use", () => uses() === 1 && held.length === 1);
    if (proxy.reports !== undefined) {
      // Longer than a decision alone counts.
      const begin = performance.now();
      await eventually("some seconds", () => performance.now() - begin > 5_000);
      t.equal(uses(), 1);
    }
    held[0]?.end();
    await open;
    await eventually("no use", () => uses() === 0);
    t.pass();
  });

  t.test("without berth nothing is forwarded, and the client gets a sentence", async (t) => {
    const { stand, send, reached, errors } = await openFront(t, proxy);
    t.equal((await send(`${PATH}/`)).status, 200);
    await stand.gateway.close();
    reached.length = 0;
    await eventually(
      () => `a refusal:\n${errors()}`,
      async () => (await send(`${PATH}/`)).status === 503,
    );
    const reply = await send(`${PATH}/`);
    t.match(JSON.parse(reply.body), { "datagrok-error": /berth does not answer/ });
    t.ok(reply.headers["retry-after"]);
    const count = reached.length;
    await send(`${PATH}/`);
    t.equal(reached.length, count);
    const atEdge = await send("/api/users");
    t.equal(atEdge.status, 503, "a request that only berth's edge answers");
    t.match(JSON.parse(atEdge.body), { "datagrok-error": /berth does not answer/ });
    t.ok(atEdge.headers["retry-after"]);
  });
}

/** What an operator changes in a configuration: the addresses and the secret. */
export function editConfig(text: string, { edge, callout, log, secret }: ProxyPorts): string {
  return text
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${edge}`)
    .replaceAll("127.0.0.1:8082", `127.0.0.1:${callout}`)
    .replaceAll("127.0.0.1:8083", `127.0.0.1:${log}`)
    .replaceAll("change-me-to-the-value-of-BERTH_CALLOUT_SECRET", secret);
}

export const CONFIGS = join(import.meta.dirname, "../../../conf/callout");
