import t from "tap";
import { createContainerCache } from "../../../gateway/feed/container-cache.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort, listen } from "../../fixtures/server.ts";
import { createServer } from "node:net";
import { ID } from "../stand.ts";
import { openTcpContainer, openTcpStand } from "./tcp-stand.ts";

t.test("a listener opens and closes with the feed; open connections stay", async (t) => {
  const stand = await openTcpStand(t, ID);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)));
  stand.set(ID, { kind: "awake", address: echo.address });
  const client = await stand.connect();
  await eventually("the connection", () => echo.sockets.size === 1);
  const port = await freePort();
  stand.move(port);
  await eventually("the new port", () => stand.isListening(port));
  t.notOk(await stand.isListening());
  stand.move(undefined);
  await eventually("no port", async () => !(await stand.isListening(port)));
  client.socket.write("still");
  await eventually("the answer", () => client.received() === "still");
});

t.test("a port that another program has is tried again", async (t) => {
  const stand = await openTcpStand(t, ID);
  const other = createServer();
  const { port } = await listen(t, other);
  stand.move(port);
  other.close();
  const echo = await openTcpContainer(t, (socket) => socket.end("mine"));
  stand.set(ID, { kind: "awake", address: echo.address });
  await eventually("the port", () => stand.isListening(port));
});

t.test("two gateways share a port, and a draining one leaves it to the other", async (t) => {
  const one = await openTcpStand(t, ID);
  const two = await openTcpStand(t, ID);
  two.move(one.tcpPort);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)).on("end", () => socket.end()));
  for (const stand of [one, two]) stand.set(ID, { kind: "awake", address: echo.address });
  await eventually("both to accept", async () => {
    const client = await one.connect();
    client.socket.end("x");
    await client.closed;
    return one.reports.some(({ streams }) => streams > 0) && two.reports.some(({ streams }) => streams > 0);
  });
  // The kernel has accepted all of these for one of both, before either process has.
  const waiting = Array.from({ length: 100 }, () => one.connect());
  const drained = one.gateway.drain(20_000);
  for (const client of await Promise.all(waiting)) client.socket.end("waited");
  await drained;
  const echoes = await Promise.all(waiting.map(async (client) => [await (await client).closed, (await client).received()]));
  t.strictSame([...new Set(echoes.map(String))], [",waited"], "none is reset");
});

t.test("a draining gateway answers what came before, and another answers what comes after", async (t) => {
  const one = await openTcpStand(t, ID);
  const two = await openTcpStand(t, ID);
  two.move(one.tcpPort);
  const echo = await openTcpContainer(t, (socket) => socket.on("data", (data) => socket.write(data)).on("end", () => socket.end()));
  for (const stand of [one, two]) stand.set(ID, { kind: "awake", address: echo.address });
  const before = await one.connect();
  before.socket.write("before");
  await eventually("the answer", () => before.received() === "before");
  await one.gateway.drain(20_000);
  const after = await one.connect();
  after.socket.write("after");
  await eventually("the answer of the other", () => after.received() === "after");
});

t.test("a drain ends connections at rest, and all others after its time", async (t) => {
  const stand = await openTcpStand(t, ID);
  const mute = await openTcpContainer(t, (socket) => socket.on("end", () => socket.end()));
  stand.set(ID, { kind: "awake", address: mute.address });
  const [idle, busy] = [await stand.connect(), await stand.connect()];
  busy.socket.write("a question");
  await eventually("both", () => mute.sockets.size === 2 && stand.openAt(ID).open.some(({ bytesIn }) => bytesIn > 0));
  const drained = stand.gateway.drain(1_500);
  await eventually("the idle one to end", () => idle.ended());
  t.notOk(busy.ended());
  await drained;
  await busy.closed;
  t.notOk(await stand.isListening());
});

t.test("the cache tells which containers have listeners; ports are released before others take them", (t) => {
  const cache = createContainerCache();
  const view = (id: string, port?: number) => ({
    id,
    name: id,
    availability: { kind: "asleep" } as const,
    ...(port === undefined ? {} : { tcp: { port } }),
  });
  cache.replace([view("a", 1), view("b", 2), view("c")]);
  const changes: unknown[] = [];
  const unwatch = cache.tcpListeners.watch((id, port) => void changes.push([id, port]));
  t.strictSame(changes.splice(0), [["a", 1], ["b", 2]]); // prettier-ignore
  cache.change(view("a", 1));
  t.strictSame(changes.splice(0), []);
  cache.replace([view("a", 2), view("b", 1), view("c", 3)]);
  t.strictSame(changes.splice(0), [["a", undefined], ["b", undefined], ["a", 2], ["b", 1], ["c", 3]]); // prettier-ignore
  cache.remove("c");
  t.strictSame(changes.splice(0), [["c", undefined]]);
  unwatch();
  cache.change(view("c", 4));
  t.strictSame(changes, []);
  t.end();
});
