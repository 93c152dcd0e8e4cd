import { request, type ClientRequest, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { once } from "node:events";
import { connect } from "node:net";
import t, { type Test } from "tap";
import { ENGINE_NAMES, type EngineName } from "../../gateway/connections/engine.ts";
import type { GatewayLimits } from "../../gateway/limits.ts";
import { eventually } from "../fixtures/eventually.ts";
import { bodyOf, exchange, get, ID, openContainer, openStand, PATH } from "./stand.ts";

async function openLimited(t: Test, forwarder: EngineName, limits: Partial<GatewayLimits>, listener: RequestListener) {
  const stand = await openStand(t, { forwarder, limits });
  const { address } = await openContainer(t, listener);
  stand.set(ID, { kind: "awake", address });
  return stand;
}

function post(port: number): ClientRequest {
  const headers = { authorization: "token", "transfer-encoding": "chunked" };
  // The client that waits for the answer gets an error as well.
  return request({ port, host: "127.0.0.1", path: PATH, method: "POST", headers, agent: false }).on("error", () => undefined);
}

/** The answer to a request whose body is sent as `send` does, and its body; or why there is none. */
async function answerTo(sent: ClientRequest): Promise<{ status: number | undefined; body: string } | "cut"> {
  try {
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    return { status: answer.statusCode, body: (await bodyOf(answer)).toString() };
  } catch {
    return "cut";
  }
}

/** Writes a little every now and then, and ends after `times`. */
function drip(to: ClientRequest | ServerResponse, everyMs: number, times: number): void {
  to.write("x");
  if (times === 0) return void to.end();
  setTimeout(() => void (to.destroyed || drip(to, everyMs, times - 1)), everyMs);
}

/** Several intervals long, so that a busy machine does not turn drips into silence; all of them take longer. */
const IDLE_MS = 1_500;
const DRIPS = [100, 19] as const;
const DRIPPED = "x".repeat(20);

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: a response that falls silent is cut off; one that drips is not`, async (t) => {
    const silent = await openLimited(t, forwarder, { idleTimeoutMs: IDLE_MS }, (_request, response) => void response.write("begun"));
    const sent = post(silent.port);
    sent.end();
    t.equal(await answerTo(sent), "cut");
    const dripping = await openLimited(t, forwarder, { idleTimeoutMs: IDLE_MS }, (_request, response) => drip(response, ...DRIPS));
    const other = post(dripping.port);
    other.end();
    t.match(await answerTo(other), { status: 200, body: DRIPPED });
  });

  t.test(`${forwarder}: a request body that falls silent is answered 504; one that drips is not`, async (t) => {
    const stand = await openLimited(
      t,
      forwarder,
      { idleTimeoutMs: IDLE_MS },
      (request, response) =>
        void bodyOf(request).then(
          (body) => response.end(body),
          () => undefined,
        ),
    );
    const sent = post(stand.port);
    sent.write("begun");
    const answer = await answerTo(sent);
    t.match(answer, { status: 504, body: /datagrok-error/ });
    sent.destroy();
    const other = post(stand.port);
    drip(other, ...DRIPS);
    t.match(await answerTo(other), { status: 200, body: DRIPPED });
  });

  t.test(`${forwarder}: an upload that its container does not read ends; one that it reads slowly does not`, async (t) => {
    const chunk = Buffer.alloc(1_048_576);
    const stand = await openLimited(t, forwarder, { bodyTimeoutMs: 1_000 }, (request, response) => {
      if (request.url !== "/slow") return;
      let got = 0;
      request.on("data", (piece: Buffer) => {
        const before = got;
        got += piece.length;
        if (Math.floor(before / chunk.length) === Math.floor(got / chunk.length)) return;
        request.pause();
        setTimeout(() => request.resume(), 100);
      });
      request.once("end", () => response.end("all"));
    });
    const unread = post(stand.port);
    for (let at = 0; at < 32; at++) unread.write(chunk);
    const answer = await answerTo(unread);
    t.match(answer, { status: 504, body: /no progress for 1 s/ });
    unread.destroy();
    const headers = { authorization: "token", "content-length": 16 * chunk.length };
    const slow = request({ port: stand.port, host: "127.0.0.1", path: `${PATH}/slow`, method: "POST", headers, agent: false });
    for (let at = 0; at < 16; at++) slow.write(chunk);
    slow.end();
    t.match(await answerTo(slow), { status: 200, body: "all" });
    const stopped = post(stand.port);
    stopped.write("begun");
    t.match(await answerTo(stopped), { status: 504, body: /no progress/ });
    stopped.destroy();
  });

  t.test(`${forwarder}: a container that thinks is not idle: it has its own limit`, async (t) => {
    const stand = await openLimited(
      t,
      forwarder,
      { idleTimeoutMs: 200 },
      (_request, response) => void setTimeout(() => response.end("thought"), 700),
    );
    t.match(await exchange(stand.port, get(PATH)), /thought$/);
  });

  t.test(`${forwarder}: an exchange that takes too long in all ends, whatever flows`, async (t) => {
    const stand = await openLimited(t, forwarder, { totalTimeoutMs: 400 }, (_request, response) => drip(response, 50, 100));
    const sent = post(stand.port);
    sent.end();
    t.equal(await answerTo(sent), "cut");
    const thinking = await openLimited(t, forwarder, { totalTimeoutMs: 400 }, () => undefined);
    const other = post(thinking.port);
    other.end();
    t.match(await answerTo(other), { status: 504 });
    const asleep = await openLimited(t, forwarder, { totalTimeoutMs: 400 }, () => undefined);
    asleep.set(ID, { kind: "coming" });
    const waiting = post(asleep.port);
    waiting.end();
    t.match(await answerTo(waiting), { status: 504 });
    t.equal(asleep.uses.get(ID)?.open, 0, "and nothing counts as open");
    t.equal(asleep.watchers(ID), 0, "or waits any longer");
  });

  t.test(`${forwarder}: a head that does not come in time ends its connection`, async (t) => {
    const stand = await openLimited(t, forwarder, { headersTimeoutMs: 300 }, (_request, response) => response.end());
    const socket = connect(stand.port, "127.0.0.1");
    t.teardown(() => socket.destroy());
    socket.write("GET / HTTP/1.1\r\nHost: stand");
    socket.resume();
    await once(socket, "close");
  });
}

t.test("a client that sends no body behind its answer does not keep its container in use", async (t) => {
  const stand = await openLimited(t, "splice", { bodyTimeoutMs: 300, lingeringCloseMs: 300 }, (_request, response) => {
    response.writeHead(403, { "content-length": "2" });
    response.end("no");
  });
  const head = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nContent-Length: 10\r\n\r\n`;
  const client = connect({ port: stand.port, host: "127.0.0.1", allowHalfOpen: true }, () => client.write(head));
  t.teardown(() => client.destroy());
  let came = "";
  client.on("data", (bytes: Buffer) => (came += bytes.toString("latin1"))).on("error", () => undefined);
  await eventually("the answer", () => came.endsWith("no"));
  await eventually("it is counted out", () => stand.uses.get(ID)?.open === 0);
  t.match(came, /^HTTP\/1\.1 403 /);
});
