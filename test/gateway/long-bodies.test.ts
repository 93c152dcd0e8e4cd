import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import type { AccessRecord } from "../../gateway/access-record.ts";
import type { GatewayLimits } from "../../gateway/limits.ts";
import { eventually } from "../fixtures/eventually.ts";
import { ID, openRawContainer, openStand, PATH } from "./stand.ts";

/** Bodies of this size are moved within the kernel where the sockets of both sides can do it (`npm run test:sockets`). */
const BODY = randomBytes(12 * 1_048_576);
const HEAD = `HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n`;
const SMALL = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall";
const REQUEST = `GET ${PATH} HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\n\r\n`;

/** A gateway whose container handles each request by `respond`, a connected client, and what that receives. */
async function openDownload(t: Test, respond: (container: Socket, request: number) => void) {
  const records: AccessRecord[] = [];
  const stand = await openStand(t, { watchers: [(record) => void records.push(record)] });
  const containers: Socket[] = [];
  let requests = 0;
  const address = await openRawContainer(t, (socket) => {
    containers.push(socket);
    t.teardown(() => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      for (const _ of chunk.toString("latin1").matchAll(/\r\n\r\n/g)) respond(socket, ++requests);
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1").on("error", () => undefined);
  t.teardown(() => client.destroy());
  const chunks: Buffer[] = [];
  let bytes = 0;
  client.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
  });
  client.write(REQUEST);
  return { stand, records, containers, client, bytes: () => bytes, received: () => Buffer.concat(chunks) };
}

t.test("a long body arrives unchanged, is counted, and its connections are used again", async (t) => {
  const { stand, records, containers, client, bytes, received } = await openDownload(t, (container, request) => {
    if (request === 1) container.write(Buffer.concat([Buffer.from(HEAD), BODY]));
    else container.write(SMALL);
  });
  // The next request waits for its turn.
  client.write(REQUEST);
  const expected = Buffer.concat([Buffer.from(HEAD), BODY, Buffer.from(SMALL)]);
  await eventually("both responses", () => bytes() >= expected.length);
  t.ok(received().equals(expected));
  await eventually("both records", () => records.length === 2);
  t.equal(records[0]?.bytesOut, HEAD.length + BODY.length);
  t.equal(records[0]?.ending, "answered");
  t.equal(containers.length, 1);
  t.equal(stand.uses.get(ID)?.open, 0);
});

t.test("a slow client holds its container, and gets everything", async (t) => {
  const { containers, client, bytes, received } = await openDownload(t, (container) =>
    container.write(Buffer.concat([Buffer.from(HEAD), BODY, BODY])),
  );
  client.pause();
  let waiting = -1;
  await eventually("the container to be held", () => {
    const left = containers[0]?.writableLength ?? 0;
    const held = left > 0 && left === waiting;
    waiting = left;
    return held;
  });
  client.resume();
  await eventually("the response", () => bytes() === HEAD.length + BODY.length);
  t.ok(received().subarray(HEAD.length).equals(BODY));
});

t.test("a client that leaves within a long body ends its container's connection", async (t) => {
  const { stand, records, containers, client, bytes } = await openDownload(t, (container) => void container.write(HEAD + "x".repeat(2_097_152)));
  await eventually("a part of it", () => bytes() > 1_048_576);
  client.resetAndDestroy();
  await eventually("the container's connection to close", () => containers[0]?.closed);
  await eventually("the record", () => records.length === 1);
  t.equal(records[0]?.ending, "left");
  t.equal(stand.uses.get(ID)?.open, 0);
});

for (const [how, leave] of [
  ["ends", (container: Socket) => void container.end()],
  ["resets", (container: Socket) => void container.resetAndDestroy()],
] as const)
  t.test(`a container that ${how} within a long body ends its client's connection`, async (t) => {
    const part = BODY.subarray(0, 4_000_000);
    const { records, containers, client, bytes, received } = await openDownload(t, (container) =>
      container.write(Buffer.concat([Buffer.from(HEAD), part])),
    );
    await eventually("the part", () => bytes() === HEAD.length + part.length);
    leave(containers[0] as Socket);
    await eventually("the client's connection to close", () => client.closed);
    t.ok(received().subarray(HEAD.length).equals(part));
    await eventually("the record", () => records.length === 1);
    t.equal(records[0]?.ending, "cut");
  });

t.test("bytes behind a long body are no response", async (t) => {
  const { records, containers, client, bytes, received } = await openDownload(t, (container, request) => {
    if (request === 1) container.write(Buffer.concat([Buffer.from(HEAD), BODY, Buffer.from(SMALL)]));
    else container.write(SMALL.replace("small", "again"));
  });
  await eventually("the body", () => bytes() >= HEAD.length + BODY.length);
  client.write(REQUEST);
  await eventually("the next response", () => bytes() >= HEAD.length + BODY.length + SMALL.length);
  t.equal(received().subarray(-5).toString(), "again");
  await eventually("both records", () => records.length === 2);
  t.equal(containers.length, 2, "the next request has another connection");
});

/** A gateway whose container gets the connections, and a client that has sent the head of a long upload and its first `sent` bytes. */
async function openUpload(t: Test, onConnection: (container: Socket) => void, sent = BODY.length, limits: Partial<GatewayLimits> = {}) {
  const records: AccessRecord[] = [];
  const stand = await openStand(t, { watchers: [(record) => void records.push(record)], limits });
  const containers: Socket[] = [];
  const address = await openRawContainer(t, (socket) => {
    containers.push(socket);
    t.teardown(() => socket.destroy());
    onConnection(socket);
  });
  stand.set(ID, { kind: "awake", address });
  const client = connect(stand.port, "127.0.0.1").on("error", () => undefined);
  t.teardown(() => client.destroy());
  let received = "";
  client.setEncoding("latin1").on("data", (text: string) => void (received += text));
  client.write(`POST ${PATH} HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\nContent-Length: ${BODY.length}\r\n\r\n`);
  client.write(BODY.subarray(0, sent));
  return { stand, records, containers, client, received: () => received };
}

/** What a container's connection has brought. */
function collect(container: Socket): { bytes: number; all(): Buffer } {
  const chunks: Buffer[] = [];
  const state = { bytes: 0, all: () => Buffer.concat(chunks) };
  container.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    state.bytes += chunk.length;
  });
  return state;
}

t.test("a long upload arrives unchanged, is counted, and its connections are used again", async (t) => {
  const arrivals: ReturnType<typeof collect>[] = [];
  const { stand, records, containers, client, received } = await openUpload(t, (container) => void arrivals.push(collect(container)));
  // The next request waits for its turn.
  client.write(REQUEST);
  const container = () => arrivals[0]?.all() ?? Buffer.alloc(0);
  const bodyAt = () => container().indexOf("\r\n\r\n") + 4;
  await eventually("the whole upload", () => (arrivals[0]?.bytes ?? 0) > BODY.length && container().length - bodyAt() >= BODY.length);
  t.ok(container().subarray(bodyAt()).equals(BODY), "nothing of the next request");
  containers[0]?.write(SMALL);
  await eventually("the next request", () => (arrivals[0]?.bytes ?? 0) > bodyAt() + BODY.length);
  t.match(
    container()
      .subarray(bodyAt() + BODY.length)
      .toString("latin1"),
    /^GET /,
  );
  containers[0]?.write(SMALL.replace("small", "again"));
  await eventually("both responses", () => received().endsWith("again"));
  await eventually("both records", () => records.length === 2);
  t.equal(records[0]?.bytesIn, bodyAt() + BODY.length);
  t.equal(containers.length, 1);
  t.equal(stand.uses.get(ID)?.open, 0);
});

t.test("a container that does not read a long upload holds its client, and gets everything later", async (t) => {
  const { containers, client } = await openUpload(t, (container) => void container.pause());
  let waiting = -1;
  await eventually("the client to be held", () => {
    const left = client.writableLength;
    const held = containers.length === 1 && left > 0 && left === waiting;
    waiting = left;
    return held;
  });
  const came = collect(containers[0] as Socket);
  containers[0]?.resume();
  await eventually("the upload", () => came.bytes > BODY.length && came.all().subarray(-1_000).equals(BODY.subarray(-1_000)));
  t.ok(came.all().subarray(-BODY.length).equals(BODY));
});

t.test("a long upload that its container does not read is ended with that as the reason", async (t) => {
  const { received } = await openUpload(t, (container) => void container.pause(), BODY.length, { bodyTimeoutMs: 1_000 });
  await eventually("the response", () => received().includes("\r\n\r\n{"));
  t.match(received(), /^HTTP\/1.1 504 [^]*the container does not read it/);
});

t.test("a long upload that its client does not go on with is ended with that as the reason", async (t) => {
  const part = 4_000_000;
  const { received } = await openUpload(t, (container) => void container.resume(), part, { bodyTimeoutMs: 1_000 });
  await eventually("the response", () => received().includes("\r\n\r\n{"));
  t.match(received(), /^HTTP\/1.1 504 [^]*the client does not send the rest/);
});

for (const reads of [true, false])
  t.test(`a client that leaves within a long upload ends its container's connection, which ${reads ? "reads" : "does not read"} it`, async (t) => {
    const { stand, records, containers, client } = await openUpload(
      t,
      (container) => void (reads ? container.resume() : container.pause()),
      8_000_000,
    );
    await eventually("a part of it", () => (reads ? (containers[0]?.bytesRead ?? 0) > 4_000_000 : containers.length === 1));
    client.resetAndDestroy();
    await eventually("the record", () => records.length === 1);
    t.equal(records[0]?.ending, "left");
    containers[0]?.resume();
    await eventually("the container's connection to close", () => containers[0]?.closed);
    t.equal(stand.uses.get(ID)?.open, 0);
  });

t.test("a container that responds before the end of a long upload gets the rest, and its client the response at once", async (t) => {
  const part = 4_000_000;
  const arrivals: ReturnType<typeof collect>[] = [];
  const { records, containers, client, received } = await openUpload(t, (container) => void arrivals.push(collect(container)), part);
  await eventually("the part", () => (arrivals[0]?.bytes ?? 0) > part);
  containers[0]?.write(SMALL);
  await eventually("the response", () => received().endsWith("small"));
  client.write(BODY.subarray(part));
  await eventually("the rest", () => arrivals[0]?.all().subarray(-1_000).equals(BODY.subarray(-1_000)));
  t.ok(arrivals[0]?.all().subarray(-BODY.length).equals(BODY));
  await eventually("the record", () => records.length === 1);
  t.equal(records[0]?.ending, "answered");
});

t.test("a container that ends within a long upload leaves its client an error, and the rest is not read as a request", async (t) => {
  const part = 4_000_000;
  const { stand, containers, client, received } = await openUpload(t, (container) => void container.resume(), part);
  await eventually("a part of it", () => (containers[0]?.bytesRead ?? 0) > part);
  containers[0]?.resetAndDestroy();
  await eventually("the error", () => received().includes("\r\n\r\n{"));
  t.match(received(), /^HTTP\/1.1 502 /);
  client.write(BODY.subarray(part));
  client.write(REQUEST);
  await eventually("the next request's connection", () => containers.length === 2 || client.closed);
  t.equal(received().match(/HTTP\/1\.1/g)?.length, 1, "no second error");
  t.equal(stand.uses.get(ID)?.open, containers.length === 2 ? 1 : 0);
});
