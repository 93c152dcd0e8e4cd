import { connect, type Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import t, { type Test } from "tap";
import { exchange, get, ID, openRawContainer, openStand, PATH } from "../stand.ts";
import { type ListenAddress } from "../../fixtures/server.ts";
import { eventually } from "../../fixtures/eventually.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNK = `2000\r\n${"x".repeat(8_192)}\r\n`;
const STOPPED = { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "stopped" } } as const;

/** A container whose connections are counted; `answer` says what becomes of each request. */
async function openCounted(t: Test, answer: (socket: Socket) => void): Promise<{ address: ListenAddress; open: Set<Socket>; most: () => number }> {
  const open = new Set<Socket>();
  let most = 0;
  const address = await openRawContainer(t, (socket) => {
    open.add(socket);
    most = Math.max(most, open.size);
    socket.on("data", () => answer(socket)).once("close", () => open.delete(socket));
  });
  return { address, open, most: () => most };
}

t.test("a connection that is kept goes with its container", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const { address, open } = await openCounted(t, (socket) => socket.write(OK));
  stand.set(ID, { kind: "awake", address });
  await exchange(stand.port, get(PATH));
  await exchange(stand.port, get(PATH));
  t.equal(open.size, 1, "it is used again, and kept");
  stand.set(ID, STOPPED);
  await eventually("it is closed", () => open.size === 0);
  await eventually("its address is not watched any more", () => stand.watchers(ID) === 0);
});

t.test("one of a container serves no other container at the same address", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const { address, open } = await openCounted(t, (socket) => socket.write(OK));
  const other = ID.replace(/.$/, "2");
  stand.set(ID, { kind: "awake", address });
  stand.set(other, { kind: "awake", address: { ...address } });
  for (const id of [ID, other, ID, other]) await exchange(stand.port, get(PATH.replace(ID, id)));
  t.equal(open.size, 2);
  stand.set(ID, STOPPED);
  await eventually("that of one is closed", () => open.size === 1);
});

t.test("one that is in use while the others of its container close goes with the container, too", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const requests: Socket[] = [];
  const { address, open } = await openCounted(t, (socket) => requests.push(socket));
  stand.set(ID, { kind: "awake", address });
  const begin = async () => {
    const answers = [exchange(stand.port, get(PATH)), exchange(stand.port, get(PATH))];
    await eventually("both are requested", () => requests.length === 2);
    return { answers, sockets: requests.splice(0) };
  };
  const kept = await begin();
  for (const socket of kept.sockets) socket.write(OK);
  await Promise.all(kept.answers);
  const used = await begin();
  t.same(new Set(used.sockets), open, "the kept ones");
  used.sockets[1]?.end("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
  await eventually("one is closed", () => open.size === 1);
  used.sockets[0]?.write(OK);
  await Promise.all(used.answers);
  stand.set(ID, STOPPED);
  await eventually("the other is closed", () => open.size === 0);
});

t.test("one on which the last answer came after its container was stopped is not kept", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const requests: Socket[] = [];
  const answer = () => requests.at(-1)?.write(OK);
  const { address, open } = await openCounted(t, (socket) => requests.push(socket));
  stand.set(ID, { kind: "awake", address });
  const came = exchange(stand.port, get(PATH));
  await eventually("it is requested", () => requests.length === 1);
  stand.set(ID, STOPPED);
  answer();
  t.match(await came, /^HTTP\/1\.1 200 /);
  await eventually("it is closed", () => open.size === 0);
  await eventually("its address is not watched", () => stand.watchers(ID) === 0);
  stand.set(ID, { kind: "awake", address });
  const again = exchange(stand.port, get(PATH));
  await eventually("it is requested anew", () => requests.length === 2);
  answer();
  t.match(await again, /^HTTP\/1\.1 200 /, "and the container may come back to the same address");
});

t.test("one that was not used for a while is closed, before its container closes it", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 200 } });
  const { address, open } = await openCounted(t, (socket) => socket.write(OK));
  stand.set(ID, { kind: "awake", address });
  for (const time of ["the first", "the next"]) {
    await exchange(stand.port, get(PATH));
    t.equal(open.size, 1);
    await eventually(`${time} is closed`, () => open.size === 0);
  }
});

t.test("one that its container ends is closed, and the next request gets another one", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const { address, open } = await openCounted(t, (socket) => socket.write(OK));
  stand.set(ID, { kind: "awake", address });
  await exchange(stand.port, get(PATH));
  for (const socket of open) socket.end();
  await eventually("it is closed", () => open.size === 0);
  t.match(await exchange(stand.port, get(PATH).replace("GET", "POST")), /ok$/, "one that is not repeated");
});

t.test("of one container no more are kept than are worth it", async (t) => {
  const stand = await openStand(t, { limits: { upstreamIdleMs: 60_000 } });
  const waiting: Socket[] = [];
  const { address, open, most } = await openCounted(t, (socket) => void waiting.push(socket));
  stand.set(ID, { kind: "awake", address });
  const CALLS = 300;
  const came = Array.from({ length: CALLS }, () => exchange(stand.port, get(PATH)));
  await eventually("all of them are there", () => waiting.length === CALLS);
  for (const socket of waiting) socket.write(OK);
  await Promise.all(came);
  t.equal(most(), CALLS);
  await eventually("the rest is closed", () => open.size === 256);
});

t.test("a container that has not read its request gets the next one over another connection, until it has read it", async (t) => {
  const stand = await openStand(t, { forwarder: "splice", limits: { upstreamIdleMs: 60_000 } });
  const requests: Socket[] = [];
  const address = await openRawContainer(t, (socket) => {
    socket.on("data", (bytes: Buffer) => {
      const method = /(POST|GET) /.exec(bytes.toString("latin1"))?.[1];
      if (method === undefined) return;
      requests.push(socket);
      socket.write(OK);
      if (method === "POST") socket.pause();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1");
  t.teardown(() => client.destroy());
  let received = "";
  client.on("data", (bytes: Buffer) => (received += bytes.toString("latin1")));
  client.write(`POST ${PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\nTransfer-Encoding: chunked\r\n\r\n`);
  await eventually("the early answer", () => received.endsWith("ok"));
  // Until the container's connection takes no more, and the client's still does: then comes the end of the request.
  const backlog = () => stand.containers[0]?.backlog ?? 0;
  let sent = 0;
  const goOn = async () => {
    for (let turn = 0; turn < 20; turn++) await setImmediate();
    return backlog() === 0;
  };
  for (; await goOn(); sent += CHUNK.length) client.write(CHUNK);
  client.write("0\r\n\r\n");
  await eventually("the exchange is over", () => stand.uses.get(ID)?.open === 0);
  t.ok(backlog() > 0, `${backlog()} of ${sent} bytes wait`);
  t.match(await exchange(stand.port, get(PATH)), /ok$/);
  t.not(requests[0], requests[1], "another connection");
  requests[0]?.resume();
  await eventually("it has read its request", () => backlog() === 0);
  t.match(await exchange(stand.port, get(PATH)), /ok$/);
  t.match(await exchange(stand.port, get(PATH)), /ok$/);
  t.equal(new Set(requests).size, 2, "no third connection");
});
