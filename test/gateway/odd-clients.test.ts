import { connect, type Socket } from "node:net";
import t from "tap";
import { exchange, ID, openContainer, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";
import { pause } from "../fixtures/clock.ts";

const ask = (path: string, version = "1.1") => `GET ${PATH}${path} HTTP/${version}\r\nHost: stand.example\r\nAuthorization: token\r\n\r\n`;

function openClient(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => resolve(socket));
    socket.once("error", reject);
  });
}

t.test("requests are served in the order in which they came, also those that had to wait for a client to read", async (t) => {
  const stand = await openStand(t);
  const statuses: number[] = [];
  const body = Buffer.alloc(60_000, "x");
  const { address } = await openContainer(t, (request, response) => {
    statuses.push(Number(request.url?.slice(1)));
    response.end(body);
  });
  stand.set(ID, { kind: "awake", address });
  const client = await openClient(stand.port);
  t.teardown(() => client.destroy());
  client.pause();
  let sent = 0;
  const send = (count: number) => {
    let text = "";
    for (let n = 0; n < count; n++) text += ask(`/${sent++}`);
    client.write(text);
  };
  let before = -1;
  const stalled = async () => {
    do {
      before = statuses.length;
      await pause(60);
    } while (statuses.length > before);
  };
  send(250);
  await stalled();
  t.ok(statuses.length < 250, `${statuses.length} were served to a client that does not read`);
  let got = 0;
  client.on("data", (chunk: Buffer) => {
    got += chunk.length;
    client.pause();
    if (sent < 500) send(1);
    setImmediate(() => client.resume());
  });
  client.resume();
  await eventually("all are answered", () => statuses.length === 500 && got > 500 * body.length);
  t.same(
    statuses,
    Array.from({ length: 500 }, (_, n) => n),
  );
});

t.test("nothing is put into an answer for a client that has ended its sending side", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", (head: Buffer) => {
      if (String(head).startsWith("GET /breaks")) return void setTimeout(() => socket.destroy(), 20);
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
      let left = 100;
      const more = setInterval(() => {
        socket.write("yyyyy");
        if ((left -= 5) === 0) clearInterval(more);
      }, 10);
      t.teardown(() => clearInterval(more));
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = await openClient(stand.port);
  t.teardown(() => client.destroy());
  let came = "";
  let ended = false;
  client.setEncoding("latin1").on("data", (text: string) => (came += text));
  client.once("close", () => (ended = true)).once("end", () => (ended = true));
  client.end(ask("/breaks") + ask("/streams"));
  await eventually("it ends", () => ended);
  // Before an answer begins, the client is probed with interim responses.
  t.match(came, /^(?:HTTP\/1\.1 100 Continue\r\n\r\n)*HTTP\/1\.1 502 [^]*HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\ny{100}$/);
});

t.test("a client that has ended its sending side may read its answer slowly", async (t) => {
  const stand = await openStand(t);
  const body = Buffer.alloc(30_000_000, "z");
  const { address } = await openContainer(t, (_, response) => void response.end(body));
  stand.set(ID, { kind: "awake", address });
  const client = await openClient(stand.port);
  t.teardown(() => client.destroy());
  client.pause();
  let got = 0;
  let over = "";
  client.on("data", (chunk: Buffer) => (got += chunk.length));
  client.once("error", () => (over = "error")).once("end", () => (over ||= "end"));
  client.end(ask("/"));
  await pause(400);
  client.resume();
  await eventually("it ends", () => over !== "");
  t.equal(over, "end");
  t.ok(got > body.length, `${got}`);
});

t.test("a chunked answer that breaks off does not look complete to a client of HTTP/1.0", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
      setTimeout(() => socket.destroy(), 50);
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = await openClient(stand.port);
  t.teardown(() => client.destroy());
  let over = "";
  client.resume();
  client.once("error", () => (over = "error")).once("end", () => (over ||= "end"));
  client.write(ask("/", "1.0"));
  await eventually("it ends", () => over !== "");
  t.equal(over, "error");
});

t.test("an early answer arrives, however soon its container closes behind it", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
      socket.destroy();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const counts = new Map<string, number>();
  for (let n = 0; n < 60; n++) {
    const head = `POST ${PATH}/ HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\nContent-Length: 3000000\r\n\r\n`;
    const came = await exchange(stand.port, Buffer.concat([Buffer.from(head), Buffer.alloc(3_000_000)]), /\r\n\r\n/).catch(() => "");
    const status = came.slice(9, 12);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  t.same([...counts], [["413", 60]]);
});

t.test("a connection serves on, whatever became of a request whose end had to wait", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, (_, response) => void response.end("next"));
  stand.set(ID, { kind: "coming" });
  const client = await openClient(stand.port);
  t.teardown(() => client.destroy());
  let came = "";
  client.setEncoding("latin1").on("data", (text: string) => (came += text));
  const LONG = 100_000;
  client.write(`POST ${PATH}/ HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\nContent-Length: ${LONG}\r\n\r\n`);
  client.write(Buffer.alloc(LONG));
  await eventually("it is held", () => stand.uses.get(ID)?.open === 1);
  await pause(50);
  stand.set(ID, { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "stopped" } });
  await eventually("it is answered", () => came.includes("CONTAINER_STOPPED") || came.includes("stopped"));
  stand.set(ID, { kind: "awake", address });
  client.write(ask("/"));
  await eventually("the next one is, too", () => came.endsWith("next"));
});

t.test("who left is noticed over a long path too, on which the news takes its time", async (t) => {
  const stand = await openStand(t);
  let closed = false;
  const address = await openRawContainer(t, (socket) => void socket.resume().once("end", () => (closed = true)));
  stand.set(ID, { kind: "awake", address });
  const client = await openClient(stand.port);
  const ROUND_TRIP_MS = 120;
  // The system of one that left answers what is sent to it with a reset.
  client.once("data", () => setTimeout(() => client.resetAndDestroy(), ROUND_TRIP_MS));
  client.end(ask("/"));
  await eventually("the container's request is cancelled", () => closed);
  await eventually("and counts no more", () => stand.uses.get(ID)?.open === 0);
});

t.test("a broken connection is noticed while its bytes are not read", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => void socket.pause());
  for (const availability of [{ kind: "awake", address }, { kind: "coming" }] as const) {
    stand.set(ID, availability);
    const client = await openClient(stand.port);
    client.on("error", () => undefined);
    client.write(`POST ${PATH}/ HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\nContent-Length: 50000000\r\n\r\n`);
    client.write(Buffer.alloc(20_000_000));
    await eventually(`it is open: ${availability.kind}`, () => stand.uses.get(ID)?.open === 1);
    let before = -1;
    do {
      before = client.bytesWritten - client.writableLength;
      await pause(100);
    } while (client.bytesWritten - client.writableLength > before);
    t.equal(stand.uses.get(ID)?.open, 1, availability.kind);
    client.resetAndDestroy();
    await eventually("it counts no more", () => stand.uses.get(ID)?.open === 0);
  }
});

t.test("an error within a body is reported in the form that a container's callers know", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => void socket.resume());
  stand.set(ID, { kind: "awake", address });
  const head = `POST ${PATH}/ HTTP/1.1\r\nHost: stand.example\r\nAuthorization: token\r\nTransfer-Encoding: chunked\r\n\r\n`;
  t.match(await exchange(stand.port, `${head}zz\r\n`), /^HTTP\/1\.1 400 [^]*\{"datagrok-error"/);
});
