import { readFileSync } from "node:fs";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import t from "tap";
import { ENGINE_NAMES } from "../../gateway/connections/engine.ts";
import { bodyOf, exchange, get, ID, openContainer, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually, eventuallyStill } from "../fixtures/eventually.ts";
import { pause } from "../fixtures/clock.ts";

t.test("a client that leaves before the response ends the container's request", async (t) => {
  const stand = await openStand(t);
  let arrived = false;
  let ended = false;
  const { address } = await openContainer(t, (request) => {
    arrived = true;
    request.socket.once("close", () => (ended = true));
  });
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1", () => client.write(get(PATH)));
  await eventually("it arrives", () => arrived);
  client.destroy();
  await eventually("the container's connection ends", () => ended);
  await eventually("it is counted out", () => stand.uses.get(ID)?.open === 0);
  t.pass("both sides are over");
});

for (const forwarder of ENGINE_NAMES)
  t.test(`${forwarder}: a client that never reads the end of its response, and leaves, ends the exchange`, async (t) => {
    const stand = await openStand(t, { forwarder });
    const body = Buffer.alloc(64_000_000);
    const { address } = await openContainer(t, ({ url }, response) => {
      const length = Number(url?.slice(1));
      response.writeHead(200, { "Content-Length": length }).end(body.subarray(0, length));
    });
    stand.set(ID, { kind: "awake", address });
    const open = (length: number) => {
      const client = connect(stand.port, "127.0.0.1", () => client.write(get(`${PATH}/${length}`))).pause();
      return client.on("error", () => undefined);
    };
    const sent = () => stand.openAt(ID).open.reduce((sum, { bytesOut }) => sum + bytesOut, 0);
    const first = open(body.length);
    const fits = await eventuallyStill("the buffers to be full", sent);
    first.resetAndDestroy();
    await eventually("the first to end", () => stand.openAt(ID).count === 0);
    // Of some of them, all but a last piece fits, which the gateway has read and cannot send.
    const clients = Array.from({ length: 40 }, (_, nth) => open(fits + (nth - 20) * 16_384));
    await eventually("them to begin", () => stand.openAt(ID).count > 0);
    await eventuallyStill("their buffers to be full", sent);
    for (const client of clients) client.resetAndDestroy();
    await eventually("all to end", () => stand.openAt(ID).count === 0);
    t.equal(stand.uses.get(ID)?.open, 0);
  });

t.test("a client that leaves within a stream, or within its own body, ends the container's side", async (t) => {
  const stand = await openStand(t);
  let state = "";
  const { address } = await openContainer(t, (request, response) => {
    response.on("error", () => undefined);
    request.on("error", () => undefined);
    request.resume();
    if (request.method === "GET") response.write("first");
    state = "arrived";
    request.socket.once("close", () => (state = "ended"));
  });
  stand.set(ID, { kind: "awake", address });
  for (const sent of [get(PATH), `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 100\r\n\r\npart`]) {
    state = "";
    const client = connect(stand.port, "127.0.0.1", () => client.write(sent));
    await eventually("it arrives", () => state === "arrived");
    client.destroy();
    await eventually("the container's connection ends", () => state === "ended");
  }
  await eventually("both are counted out", () => stand.uses.get(ID)?.open === 0);
  t.pass("twice");
});

t.test("a silent connection is probed within a minute, so that a client that vanished does not keep its container awake", async (t) => {
  const stand = await openStand(t);
  let requests = 0;
  const { address } = await openContainer(t, () => requests++);
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1", () => client.write(get(PATH)));
  t.teardown(() => client.destroy());
  await eventually("it arrives", () => requests === 1);
  // Linux: the connection's own line, from the gateway's side; timer 2 is the probe, with the time until it in 1/100 s.
  const hex = (port: number | undefined) => (port ?? 0).toString(16).toUpperCase().padStart(4, "0");
  const line = new RegExp(`0100007F:${hex(stand.port)} 0100007F:${hex(client.localPort)} 01 \\S+ 02:(\\S+)`);
  await eventually("nothing is in flight", () => line.test(readFileSync("/proc/net/tcp", "utf8")));
  const [, left = "ffffffff"] = line.exec(readFileSync("/proc/net/tcp", "utf8")) ?? [];
  t.ok(Number.parseInt(left, 16) <= 6_000, `${Number.parseInt(left, 16) / 100} s`);
});

t.test("a container that dies within a body ends the client's response promptly", async (t) => {
  const stand = await openStand(t);
  for (const head of ["Content-Length: 100", "Transfer-Encoding: chunked"]) {
    let died = 0;
    const address = await openRawContainer(t, (socket) =>
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n3\r\nabc\r\n`);
        setTimeout(() => {
          died = performance.now();
          socket.resetAndDestroy();
        }, 50);
      }),
    );
    stand.set(ID, { kind: "awake", address });
    const error = await new Promise<Error>((resolve) => {
      const request = httpRequest(
        { port: stand.port, path: PATH, headers: { authorization: "token" }, agent: false },
        (response: IncomingMessage) => {
          response.resume();
          response.once("error", resolve);
        },
      );
      request.end();
    });
    t.ok(error, head);
    t.ok(performance.now() - died < 200, `within ${performance.now() - died} ms`);
  }
});

t.test("the answer of a container that has not read the body arrives", async (t) => {
  const stand = await openStand(t, { limits: { lingeringCloseMs: 200 } });
  const { address } = await openContainer(t, (_, response) => {
    response.writeHead(413, "Too Much");
    response.end("no");
  });
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(
    stand.port,
    `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 1000000\r\n\r\npart`,
    "\r\n\r\n",
  );
  t.match(answer, /^HTTP\/1\.1 413 Too Much/);
});

t.test("a container that dies while it reads the body is a 502", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.resetAndDestroy()));
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(
    stand.port,
    `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 1000\r\n\r\npart`,
    "\r\n\r\n",
  );
  t.match(answer, /^HTTP\/1\.1 502 /);
});

t.test("the wait for a response begins when the whole request is there", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 150 } });
  const { address } = await openContainer(t, (request, response) => {
    request.resume();
    request.once("end", () => response.end("in time"));
  });
  stand.set(ID, { kind: "awake", address });
  const request = httpRequest({ port: stand.port, path: PATH, method: "POST", headers: { authorization: "token", "content-length": 8 } });
  const answer = new Promise<number | undefined>((resolve) => request.once("response", ({ statusCode }) => resolve(statusCode)));
  for (let n = 0; n < 8; n++) {
    request.write("x");
    await pause(40);
  }
  request.end();
  t.equal(await answer, 200);
});

t.test("a draining gateway lets requests finish and then closes its connections", async (t) => {
  const stand = await openStand(t);
  let finish: (() => void) | undefined;
  const { address } = await openContainer(t, (_, response) => (finish = () => response.end("finished")));
  stand.set(ID, { kind: "awake", address });
  const answer = fetch(stand.base + PATH, { headers: { authorization: "token" } });
  await eventually("it arrives", () => finish !== undefined);
  const drained = stand.gateway.drain(5_000);
  finish?.();
  t.equal(await (await answer).text(), "finished");
  await drained;
  await t.rejects(fetch(stand.base + PATH), "the port is closed");
});

t.test("a draining gateway tells clients that it closes their connections, and serves what they had sent before", async (t) => {
  const stand = await openStand(t);
  const finish = new Map<string | undefined, () => void>();
  const { address } = await openContainer(t, ({ url }, response) => {
    if (url === "/streamed") response.write("begun,");
    finish.set(url, () => response.end("finished"));
  });
  stand.set(ID, { kind: "awake", address });
  // The second is sent before the first response is complete.
  const keepAlive = (path: string) => `GET ${PATH}${path} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\n\r\n`;
  const pipelined = exchange(stand.port, keepAlive("/streamed") + keepAlive("/after"));
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const whole = new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest({ port: stand.port, path: `${PATH}/whole`, headers: { authorization: "token" }, agent }, resolve);
    request.once("error", reject).end();
  });
  await eventually("both arrive", () => finish.has("/streamed") && finish.has("/whole"));
  const drained = stand.gateway.drain(5_000);
  finish.get("/streamed")?.();
  await eventually("the last arrives", () => finish.has("/after"));
  finish.get("/whole")?.();
  const response = await whole;
  t.equal(response.headers.connection, "close");
  t.equal((await bodyOf(response)).toString(), "finished");
  finish.get("/after")?.();
  const [, first = "", second = ""] = (await pipelined).split("HTTP/1.1 ");
  t.match(first, /begun,[^]*finished/);
  t.notMatch(first, /^connection: close/im);
  t.match(second, /^connection: close/im);
  t.match(second, /finished/);
  await drained;
});

t.test("a drain does not wait for longer than its limit", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "coming" });
  const answer = fetch(stand.base + PATH, { headers: { authorization: "token" } }).catch(() => "cut off");
  await eventually("it waits", () => stand.watchers(ID) === 1);
  await stand.gateway.drain(50);
  t.equal(await answer, "cut off");
  t.equal(stand.uses.get(ID)?.open, 0);
});

t.test("a response that has begun may take longer than its head was allowed to", async (t) => {
  const stand = await openStand(t, { limits: { proxyRequestTimeoutMs: 200 } });
  const { address } = await openContainer(t, (_request, response) => {
    response.write("first,");
    setTimeout(() => response.end("last"), 500);
  });
  stand.set(ID, { kind: "awake", address });
  const answer = await fetch(stand.base + PATH, { headers: { authorization: "token" } });
  t.equal(await answer.text(), "first,last");
});
