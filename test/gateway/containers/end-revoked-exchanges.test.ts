import { createHash } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import t, { type Test } from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { startRevocationChecks } from "../../../gateway/containers/end-revoked-exchanges.ts";
import { Fault } from "../../../lib/fault.ts";
import { exchange, get, ID, openContainer, openRawContainer, openStand, PATH, WS_PATH } from "../stand.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { ADA, openTestDirectory } from "../../fixtures/directory.ts";
import { eventually } from "../../fixtures/eventually.ts";

const AUTH = { headers: { authorization: "token" } };

async function openEcho(t: Test) {
  const { address, server } = await openContainer(t, (_, response) => void response.writeHead(200).write("event\n"));
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => socket.on("message", (message) => socket.send(String(message))));
  return { address, sockets };
}

/** The close that comes. */
async function closeOf(socket: WebSocket): Promise<[number, string]> {
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  return [code, String(reason)];
}

async function connected(socket: WebSocket, say: string): Promise<void> {
  const received = receives(socket, say);
  await once(socket, "open");
  socket.send(say);
  await received;
}

t.test("open WebSockets are closed with 1008 once their caller's session is revoked, through both routes", async (t) => {
  const stand = await openStand(t);
  const { address, sockets } = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  for (const path of [WS_PATH, PATH]) {
    stand.tokens.set("token", { userId: "u", login: "ada", admin: false });
    const socket = new WebSocket(`${stand.base.replace("http", "ws")}${path}/ws`, AUTH);
    await connected(socket, "hello");
    const closed = closeOf(socket);
    stand.signOut("token");
    const [code, reason] = await closed;
    t.equal(code, 1008);
    t.match(reason, /session ended while the request was open/);
    await eventually("the container's side has ended", () => sockets.clients.size === 0);
  }
  await eventually("nothing is left open", () => stand.openAt(ID).count === 0);
});

t.test("a WebSocket that waits for its container is closed with 1008, too", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  const socket = new WebSocket(`${stand.base.replace("http", "ws")}${WS_PATH}/ws`, AUTH);
  await once(socket, "open");
  await eventually("it is held", () => stand.openAt(ID).count === 1);
  const closed = closeOf(socket);
  stand.signOut("token");
  t.equal((await closed)[0], 1008);
});

t.test("a WebSocket whose container never ends a frame is cut off", async (t) => {
  const stand = await openStand(t);
  const received: Buffer[] = [];
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", (bytes: Buffer) => {
      // A text frame of 100 bytes, of which five come.
      const frame = Buffer.concat([Buffer.from([0x81, 100]), Buffer.from("begun")]);
      socket.write(Buffer.concat([Buffer.from(acceptUpgrade(bytes.toString("latin1"))), frame]));
      socket.on("data", (more: Buffer) => received.push(more));
    }),
  );
  stand.set(ID, { kind: "awake", address });
  const socket = new WebSocket(`${stand.base.replace("http", "ws")}${PATH}/ws`, AUTH);
  await once(socket, "open");
  socket.on("error", () => undefined);
  await eventually("its bytes came", () => (stand.openAt(ID).open[0]?.bytesOut ?? 0) >= 7);
  const closed = closeOf(socket);
  stand.signOut("token");
  socket.send("late");
  t.equal((await closed)[0], 1006);
  t.same(received, [], "its container gets nothing more");
});

t.test("a stream that is being answered is cut off", async (t) => {
  const stand = await openStand(t);
  const { address } = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  const sent = httpRequest(`${stand.base}${PATH}/events`, { headers: { authorization: "token" } });
  sent.on("error", () => undefined);
  sent.end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  const [first] = (await once(answer, "data")) as [Buffer];
  t.equal(String(first), "event\n");
  const ended = new Promise((resolve) => answer.once("error", resolve).once("end", () => resolve("complete")));
  stand.signOut("token");
  t.match(await ended, { code: "ECONNRESET" }, "it does not look complete");
});

t.test("a request that waits for its container is answered 401", async (t) => {
  const stand = await openStand(t);
  stand.set(ID, { kind: "asleep" });
  const answer = exchange(stand.port, get(PATH));
  await eventually("it is held", () => stand.openAt(ID).count === 1);
  stand.signOut("token");
  t.match(await answer, /^HTTP\/1\.1 401 /);
});

t.test("news that were lost are made up for: a revoked session's WebSocket still ends within 10 s", async (t) => {
  const stand = await openStand(t);
  const { address } = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  const socket = new WebSocket(`${stand.base.replace("http", "ws")}${WS_PATH}/ws`, AUTH);
  await connected(socket, "hello");
  const since = performance.now();
  const closed = closeOf(socket);
  stand.tokens.delete("token");
  t.equal((await closed)[0], 1008);
  t.ok(performance.now() - since < 10_000);
});

t.test("a caller who loses the right to a container, where the server behind has such, loses what is open at it", async (t) => {
  const stand = await openStand(t);
  const { address } = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  const socket = new WebSocket(`${stand.base.replace("http", "ws")}${WS_PATH}/ws`, AUTH);
  await connected(socket, "hello");
  const closed = closeOf(socket);
  Object.assign(stand.directory, {
    cached: () => undefined,
    find: () => Promise.reject(new Fault("NOT_PERMITTED", "You may not see this container")),
  });
  t.same(await closed, [1008, "You may not see this container"]);
});

t.test("sessions of others, and what cannot be looked up, go on", async (t) => {
  const stand = await openStand(t);
  const { address } = await openEcho(t);
  stand.set(ID, { kind: "awake", address });
  stand.tokens.set("other", { userId: "b", login: "bob", admin: false });
  const socket = new WebSocket(`${stand.base.replace("http", "ws")}${WS_PATH}/ws`, { headers: { authorization: "other" } });
  await connected(socket, "hello");
  stand.signOut("token");
  const received = receives(socket, "still here");
  socket.send("still here");
  await received;
  const closed = closeOf(socket);
  socket.close(1000);
  t.equal((await closed)[0], 1000);
});

function receives(socket: WebSocket, say: string): Promise<void> {
  return new Promise((resolve) => socket.on("message", (message) => String(message) === say && resolve()));
}

/** The 101 to an upgrade's head. */
function acceptUpgrade(head: string): string {
  const key = /sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n");
}

t.test("a connection without a session is not looked up, and no look-up follows the end of the checks", async (t) => {
  const { directory, identity, set } = openTestDirectory();
  set(ID, { kind: "coming" });
  const clock = createStillClock();
  const answer = Promise.withResolvers<string[]>();
  const lookups: (readonly string[])[] = [];
  const revoked: string[] = [];
  const leases = ["", "token"].map((token) => ({ caller: { token, ...ADA }, containerId: ID, revoke: () => void revoked.push(token) }));
  const findEnded = (tokens: readonly string[]) => {
    lookups.push(tokens);
    return answer.promise;
  };
  const checks = startRevocationChecks({ exchanges: { leases: () => leases }, identity: { ...identity, findEnded }, directory, clock });
  await clock.advance(2_000);
  checks.close();
  answer.resolve(["", "token"]);
  await turns();
  t.same([lookups, revoked, clock.pending()], [[["token"]], ["token"], 0]);
});
