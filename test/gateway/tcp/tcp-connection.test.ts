import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import t from "tap";
import type { AccessRecord } from "../../../gateway/access-record.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually, eventuallyStill } from "../../fixtures/eventually.ts";
import { freePort } from "../../fixtures/server.ts";
import { SOCKET_KINDS } from "../../fixtures/connections.ts";
import { ID, openRawContainer, PATH } from "../stand.ts";
import { openTcpContainer, openTcpStand } from "./tcp-stand.ts";

t.test("bytes pass in both directions, and each direction ends by itself", async (t) => {
  const stand = await openTcpStand(t, ID);
  const echo = await openTcpContainer(t, (socket) => {
    socket.on("data", (data) => socket.write(data)).on("end", () => socket.end("over"));
  });
  stand.set(ID, { kind: "awake", address: echo.address });
  const sent = randomBytes(3_000_000).toString("latin1");
  const client = await stand.connect();
  client.socket.end(sent, "latin1");
  t.equal(await client.closed, undefined);
  t.equal(client.received().length, sent.length + 4);
  t.ok(client.received() === `${sent}over`, "all bytes came, and the end after the client's own end");
});

t.test("a side that does not read stops the other side", async (t) => {
  const stand = await openTcpStand(t, ID);
  let accepted = 0;
  const size = 64 * 1_048_576;
  const source = await openTcpContainer(t, (socket) => {
    const chunk = Buffer.alloc(65_536, 1);
    const pour = () => {
      while (accepted < size) {
        accepted += chunk.length;
        if (!socket.write(chunk)) return void socket.once("drain", pour);
      }
      socket.end();
    };
    pour();
  });
  stand.set(ID, { kind: "awake", address: source.address });
  const client = await stand.connect();
  client.socket.pause();
  let before = -1;
  await eventually("the container to be stopped", () => {
    const isStill = accepted === before;
    before = accepted;
    return isStill && accepted > 0;
  });
  t.ok(accepted < size / 2, `it could send ${accepted} of ${size} bytes`);
  client.socket.resume();
  await client.closed;
  t.equal(client.received().length, size);
});

t.test("a hundred connections wake a container once, wait unread, and are forwarded", async (t) => {
  const stand = await openTcpStand(t, ID);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)));
  stand.set(ID, { kind: "asleep" });
  const clients = await Promise.all(Array.from({ length: 100 }, () => stand.connect()));
  for (const [index, { socket }] of clients.entries()) socket.write(`hello ${index}`);
  await eventually("all to wait", () => stand.openAt(ID).count === 100);
  t.strictSame(stand.wakes, [ID]);
  t.match(stand.openAt(ID).open[0], { kind: "tcp", state: "held", login: "127.0.0.1", bytesIn: 0 });
  t.match(stand.uses.get(ID), { open: 0, streams: 0 });
  stand.set(ID, { kind: "awake", address: echo.address });
  await eventually("all answers", () => clients.every(({ received }, index) => received() === `hello ${index}`));
  t.match(stand.uses.get(ID), { open: 0, streams: 100 }, "an open connection alone is no use");
  for (const { socket } of clients) socket.end();
  await eventually("all to be over", () => stand.openAt(ID).count === 0);
  t.equal(stand.watchers(ID), 0, "none is left behind");
});

t.test("bytes are use", async (t) => {
  const stand = await openTcpStand(t, ID);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)));
  stand.set(ID, { kind: "awake", address: echo.address });
  const client = await stand.connect();
  await eventually("the connection", () => echo.sockets.size === 1);
  const before = stand.uses.get(ID)?.lastActive ?? 0;
  await eventually("a later report", () => {
    client.socket.write("x");
    return (stand.uses.get(ID)?.lastActive ?? 0) > before;
  });
  t.match(stand.uses.get(ID), { open: 0, streams: 1 });
});

t.test("a browser's cookie of the console reaches no container: the connection is reset before it", async (t) => {
  const records: AccessRecord[] = [];
  const stand = await openTcpStand(t, ID, { watchers: [(record) => void records.push(record)] });
  let received = "";
  const container = await openTcpContainer(t, (socket) => void socket.on("data", (data) => void (received += String(data))));
  stand.set(ID, { kind: "awake", address: container.address });
  const send = async (pieces: string[]) => {
    received = "";
    const client = await stand.connect();
    for (const piece of pieces) {
      client.socket.write(piece, "latin1");
      await eventually("it to arrive, or the end", () => received.endsWith(piece) || client.ended() || client.socket.destroyed);
    }
    return client.socket.destroyed;
  };
  const head = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (const name of ["berth-console", "berth-registry"])
    for (const [what, pieces] of Object.entries({
      "the first request": [`${head}Cookie: a=1; ${name}=SECRET\r\n\r\n`],
      "a method of its own": [`x!y / HTTP/1.1\r\nCookie: ${name}=SECRET\r\n\r\n`],
      "a later request": [`${head}\r\n`, `${head}Cookie: ${name}=SECRET\r\n\r\n`],
      "two pieces": [`${head}Cookie: ${name.slice(0, 7)}`, `${name.slice(7)}=SECRET\r\n\r\n`],
      "many pieces": [`${head}Cookie: `, ...name, "=", "SECRET\r\n\r\n"],
    })) {
      t.ok(await send(pieces), `${name}, ${what}: the connection ends`);
      t.notMatch(received, /SECRET/, `${name}, ${what}`);
    }
  t.match(records[0], { fault: "ORIGIN_NOT_PERMITTED" });
  t.notOk(await send([`${head}Cookie: auth=1; my-berth-consoles=2\r\n\r\n`]), "other cookies pass");
  t.notOk(await send(["\0\0\0\x08\x04\x02\x16\x2f", "INSERT 'berth-console=SECRET'"]), "and all data of a protocol that is not HTTP");
});

t.test("a container that is killed resets its clients", async (t) => {
  const stand = await openTcpStand(t, ID);
  const echo = await openTcpContainer(t, (socket) => socket.once("data", () => socket.resetAndDestroy()));
  stand.set(ID, { kind: "awake", address: echo.address });
  const client = await stand.connect();
  client.socket.write("x");
  t.match(await client.closed, { code: "ECONNRESET" });
  await eventually("its end", () => stand.openAt(ID).count === 0);
});

t.test("a connection that waits too long is reset, and its log line has the fault", async (t) => {
  const records: AccessRecord[] = [];
  const stand = await openTcpStand(t, ID, { limits: { proxyRequestTimeoutMs: 100 }, watchers: [(record) => void records.push(record)] });
  stand.set(ID, { kind: "coming" });
  const client = await stand.connect();
  client.socket.write("x");
  await client.closed;
  t.equal(client.received(), "");
  const record = await eventually("the record", () => records.find(({ fault }) => fault !== undefined));
  t.match(record, { fault: "HOLD_TIMED_OUT", status: 504, bytesIn: 0, bytesOut: 0, labels: { route: "tcp", container: "demo" }, peer: "127.0.0.1" });
});

t.test("a finished connection has a record of its bytes and duration", async (t) => {
  const records: AccessRecord[] = [];
  const metrics = openMetrics();
  const stand = await openTcpStand(t, ID, { watchers: [(record) => void records.push(record)], metrics });
  const echo = await openTcpContainer(t, (socket) => socket.once("data", () => socket.end("four")));
  stand.set(ID, { kind: "awake", address: echo.address });
  const client = await stand.connect();
  await eventually("it to be counted", () => metrics.tcpConnections.at().value >= 0);
  client.socket.end("in");
  await client.closed;
  const record = await eventually("the record", () => records.find(({ bytesOut }) => bytesOut > 0));
  t.match(record, { status: 101, bytesIn: 2, bytesOut: 4, ending: "answered", labels: { route: "tcp", container: "demo" } });
  t.equal(metrics.bytes.at("tcp", "in").value, 2);
});

t.test("a failed start resets what waits; a connection to a stopped container is reset at once", async (t) => {
  const stand = await openTcpStand(t, ID);
  stand.set(ID, { kind: "coming" });
  const held = await stand.connect();
  await eventually("it to wait", () => stand.openAt(ID).count === 1);
  const fault = { code: "CONTAINER_CRASHED", message: "It ended." } as const;
  stand.set(ID, { kind: "failed", fault, wakeable: false, retryAt: 0 });
  await held.closed;
  stand.set(ID, { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "A user stopped it." } });
  await (
    await stand.connect()
  ).closed;
  t.strictSame(stand.wakes, []);
  stand.remove(ID);
  await (
    await stand.connect()
  ).closed;
});

t.test("a refused connect waits for the check of the address, and tries again within the hold limit", async (t) => {
  const stand = await openTcpStand(t, ID, { limits: { suspectAddressMs: 50 } });
  const port = await freePort();
  stand.set(ID, { kind: "awake", address: { host: "127.0.0.1", port } });
  const client = await stand.connect();
  client.socket.write("hello");
  await eventually("a check", () => stand.wakes.length > 1);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)));
  stand.set(ID, { kind: "awake", address: echo.address });
  await eventually("the answer", () => client.received() === "hello");
});

t.test("the limits of one container, and of its waiting connections, refuse one too many", async (t) => {
  const metrics = openMetrics();
  const stand = await openTcpStand(t, ID, { perContainer: 3, limits: { holdLimit: 4, holdUserLimit: 2 }, metrics });
  stand.set(ID, { kind: "asleep" });
  const held = [await stand.connect(), await stand.connect()];
  await eventually("two to wait", () => stand.openAt(ID).count === 2);
  await (
    await stand.connect()
  ).closed;
  t.equal(stand.openAt(ID).count, 2, "one client has two places");

  const echo = await openTcpContainer(t, () => undefined);
  stand.set(ID, { kind: "awake", address: echo.address });
  held.push(await stand.connect());
  await eventually("three connections", () => echo.sockets.size === 3);
  await (
    await stand.connect()
  ).closed;
  t.equal(metrics.refusedConnections.at("container").value, 1);
  held[0]?.socket.destroy();
  await eventually("a place", () => stand.openAt(ID).count === 2);
  const next = await stand.connect();
  await eventually("the next connection", () => echo.sockets.size === 3);
  t.notOk(next.ended());
});

t.test("a client that resets its connection while it waits leaves its place", async (t) => {
  const stand = await openTcpStand(t, ID);
  stand.set(ID, { kind: "coming" });
  const client = await stand.connect();
  await eventually("it to wait", () => stand.openAt(ID).count === 1);
  client.socket.resetAndDestroy();
  await eventually("it to leave", () => stand.openAt(ID).count === 0);
});

t.test("when its container sleeps, a connection ends at rest; while its address is checked, it goes on", async (t) => {
  const stand = await openTcpStand(t, ID);
  let answer = () => {};
  const slow = await openTcpContainer(t, (socket) =>
    socket
      .on("data", (data) => (String(data) === "slow" ? (answer = () => socket.write("at last")) : socket.write(data)))
      .on("end", () => socket.end()),
  );
  stand.set(ID, { kind: "awake", address: slow.address });
  const [idle, busy] = [await stand.connect(), await stand.connect()];
  idle.socket.write("x");
  await eventually("its answer", () => idle.received() === "x");
  busy.socket.write("slow");
  await eventually("the request", () => answer.length === 0 && String(answer).includes("at last"));
  stand.set(ID, { kind: "coming", step: "check" });
  idle.socket.write("y");
  await eventually("an answer during the check", () => idle.received() === "xy");

  stand.set(ID, { kind: "asleep" });
  await eventually("the idle one to end", () => idle.ended());
  t.notOk(busy.ended(), "it waits for its answer");
  answer();
  await eventually("the other one to end", () => busy.ended());
  t.equal(busy.received(), "at last");
});

t.test("when another instance has taken its container's place, a connection that waits for an answer is reset", async (t) => {
  const stand = await openTcpStand(t, ID);
  const mute = await openTcpContainer(t, () => undefined);
  stand.set(ID, { kind: "awake", address: mute.address });
  const client = await stand.connect();
  client.socket.write("a question");
  await eventually("the question", () => stand.openAt(ID).open.some(({ bytesIn }) => bytesIn > 0));
  stand.set(ID, { kind: "coming", step: "queue" });
  stand.set(ID, { kind: "coming", step: "start" });
  t.match(await client.closed, { code: "ECONNRESET" });
  await eventually("its end", () => stand.openAt(ID).count === 0);
});

t.test("its HTTP route says that it does not speak HTTP", async (t) => {
  const stand = await openTcpStand(t, ID);
  stand.set(ID, { kind: "asleep" }, undefined, { port: stand.tcpPort });
  const answer = await fetch(stand.base + PATH, { headers: { authorization: "token" } });
  t.equal(answer.status, 400);
  t.match(await answer.text(), new RegExp(`port ${stand.tcpPort}`));
  t.strictSame(stand.wakes, []);
});

for (const sockets of SOCKET_KINDS) {
  t.test(`a client that has ended its direction, and then leaves, ends a silent connection, on sockets of ${sockets}`, async (t) => {
    const stand = await openTcpStand(t, ID, { sockets });
    // It does not read, so it does not end either.
    const address = await openRawContainer(t, () => undefined);
    stand.set(ID, { kind: "awake", address });
    const client = connect({ port: stand.tcpPort, host: "127.0.0.1", allowHalfOpen: true });
    client.on("error", () => undefined);
    await eventually("the connection", () => stand.openAt(ID).count === 1);
    client.end("all");
    await eventually("its bytes, and its own end", () => stand.openAt(ID).open[0]?.bytesIn === 3 && client.writableFinished);
    client.resetAndDestroy();
    await eventually("both sides to be over", () => stand.openAt(ID).count === 0);
    t.equal(stand.uses.get(ID)?.streams, 0);
  });

  t.test(`a client that leaves while its container takes nothing gives its place back, on sockets of ${sockets}`, async (t) => {
    const clock = createStillClock();
    const stand = await openTcpStand(t, ID, { sockets, clock });
    const address = await openRawContainer(t, (socket) => void socket.pause());
    stand.set(ID, { kind: "awake", address });
    const client = await stand.connect();
    client.socket.write(Buffer.alloc(20_000_000));
    await eventuallyStill("the client is stopped", () => stand.openAt(ID).open[0]?.bytesIn ?? 0);
    await clock.advance(120_000);
    t.equal(stand.openAt(ID).count, 1, "it is still there");
    client.socket.resetAndDestroy();
    await eventually("both sides to be over", async () => {
      await clock.advance(30_000);
      return stand.openAt(ID).count === 0;
    });
    t.ok(stand.containers.every(({ closed }) => closed));
  });
}
