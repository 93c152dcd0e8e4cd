import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import type { NetConnection } from "../../gateway/connections/connection.ts";
import type { GatewayLimits } from "../../gateway/limits.ts";
import { createStillClock, turns, type StillClock, pause } from "../fixtures/clock.ts";
import { ID, openRawContainer, openStand, PATH, type GatewayFixture } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const MIB = 1_048_576;
/** What the system keeps of a connection's bytes, on both ends and on this machine, is far below this. */
const MOST_IN_FLIGHT = 32 * MIB;

type Client = { socket: Socket; came: string; bytes: number; closed: boolean };

/** A client that reads what comes unless the test stops it. */
function openClient(t: Test, stand: GatewayFixture): Client {
  const socket = connect(stand.port, "127.0.0.1");
  const client: Client = { socket, came: "", bytes: 0, closed: false };
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    client.bytes += text.length;
    client.came = (client.came + text).slice(-10_000);
  });
  socket.on("error", () => undefined);
  socket.once("close", () => (client.closed = true));
  t.teardown(() => socket.destroy());
  return client;
}

function head(method: string, path: string, lines: string[] = []): string {
  return [`${method} ${PATH}${path} HTTP/1.1`, "Host: stand.example", "Authorization: token", ...lines, "", ""].join("\r\n");
}

/** Answers every request without a body with `body`, on connections that it keeps. */
function answering(t: Test, body = "ok", onRequest: () => void = () => undefined) {
  return openRawContainer(t, (socket) => {
    let came = "";
    socket.on("data", (bytes: Buffer) => {
      came += bytes.toString("latin1");
      for (let end = came.indexOf("\r\n\r\n"); end !== -1; end = came.indexOf("\r\n\r\n")) {
        came = came.slice(end + 4);
        onRequest();
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      }
    });
  });
}

async function openStill(t: Test, limits: Partial<GatewayLimits>): Promise<GatewayFixture & { clock: StillClock }> {
  const clock = createStillClock();
  return { ...(await openStand(t, { limits, clock, forwarder: "splice" })), clock };
}

/** Bytes wait for the other end, and not only for the end of the turn. */
function isStuck(edge: NetConnection | undefined): boolean {
  return edge !== undefined && edge.backlog > 0;
}

/** Waits until nothing has changed for a while: then the sender has to wait for the reader. */
async function stalled(value: () => number): Promise<number> {
  for (;;) {
    const before = value();
    await pause(250);
    if (value() === before && before > 0) return before;
  }
}

/** Sends `piece` once a second until the client is cut off, and says how many seconds that took. */
async function dribble({ clock }: { clock: StillClock }, client: Client, piece: () => string): Promise<number> {
  for (let second = 1; second < 60; second++) {
    if (!client.socket.destroyed) client.socket.write(piece());
    await turns();
    await clock.advance(1_000);
    if (client.closed) return second;
  }
  return Infinity;
}

t.test("a head that comes byte by byte, or in many bytes without end, is cut off when its time is up", async (t) => {
  const stand = await openStill(t, { headersTimeoutMs: 5_000 });
  for (const piece of ["x", `x-${"y".repeat(500)}: z\r\n`]) {
    const client = openClient(t, stand);
    client.socket.write("GET / HTTP/1.1\r\nHost: x\r\nx-long: ");
    const seconds = await dribble(stand, client, () => piece);
    t.ok(seconds >= 5 && seconds <= 7, `after ${seconds} s`);
    t.match(client.came, /^HTTP\/1\.1 408 .*connection: close/is);
  }
});

t.test("the second head of a connection has no more time than the first", async (t) => {
  const stand = await openStill(t, { headersTimeoutMs: 5_000 });
  stand.set(ID, { kind: "awake", address: await answering(t) });
  const client = openClient(t, stand);
  client.socket.write(head("GET", "/"));
  await eventually("the first is answered", () => client.came.endsWith("ok"));
  client.socket.write("GET /");
  const seconds = await dribble(stand, client, () => "a");
  t.ok(seconds >= 5 && seconds <= 7, `after ${seconds} s`);
  t.match(client.came, /ok.*HTTP\/1\.1 408 /s);
});

t.test("who says nothing, or empty lines only, is let go without a word", async (t) => {
  const stand = await openStill(t, { headersTimeoutMs: 5_000 });
  for (const leading of ["", "\r\n", "\r"]) {
    const client = openClient(t, stand);
    if (leading !== "") client.socket.write(leading);
    await turns(20);
    await stand.clock.advance(4_000);
    t.notOk(client.closed, "it is waited for");
    await stand.clock.advance(2_000);
    await eventually("it is let go", () => client.closed);
    t.notMatch(client.came, "200");
  }
});

t.test("a connection between two requests is kept so long and no longer", async (t) => {
  const stand = await openStill(t, { keepAliveTimeoutMs: 20_000, headersTimeoutMs: 5_000 });
  stand.set(ID, { kind: "awake", address: await answering(t) });
  const client = openClient(t, stand);
  for (let turn = 1; turn <= 3; turn++) {
    client.socket.write(head("GET", "/"));
    await eventually("it is answered", () => client.came.split("ok").length === turn + 1);
    await stand.clock.advance(19_000);
    t.notOk(client.closed);
  }
  await stand.clock.advance(1_500);
  await eventually("it is closed", () => client.closed);
  t.match(client.came, /ok$/, "and nothing more was sent");
});

t.test("a body that stops coming ends its exchange, whichever way it went", async (t) => {
  const stand = await openStill(t, { idleTimeoutMs: 10_000 });
  const gone: string[] = [];
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", (bytes: Buffer) => {
      const [name = ""] = /\/(up|down)/.exec(bytes.toString()) ?? [];
      socket.once("close", () => gone.push(name));
      if (name === "/down") socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
    });
  });
  stand.set(ID, { kind: "awake", address });
  const up = openClient(t, stand);
  up.socket.write(head("POST", "/up", ["Content-Length: 100"]));
  const down = openClient(t, stand);
  down.socket.write(head("GET", "/down"));
  await eventually("the answer begins", () => down.came.endsWith("part"));
  // Bytes either way keep it.
  await stand.clock.advance(8_000);
  up.socket.write("part");
  await turns(20);
  await stand.clock.advance(8_000);
  await eventually("what came no further is cut", () => down.closed);
  t.notOk(up.closed);
  await stand.clock.advance(3_000);
  await eventually("and so is the other", () => up.came.startsWith("HTTP/1.1 504 "));
  await eventually("both containers hear of it", () => gone.length === 2);
  t.equal(stand.uses.get(ID)?.open, 0);
});

t.test("an exchange takes no longer in all than it may, whatever flows", async (t) => {
  const stand = await openStill(t, { totalTimeoutMs: 10_000 });
  let answer: Socket | undefined;
  const address = await openRawContainer(t, (socket) => {
    answer = socket;
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
  });
  stand.set(ID, { kind: "awake", address });
  const client = openClient(t, stand);
  client.socket.write(head("GET", "/"));
  await eventually("the answer begins", () => client.came.endsWith("\r\n\r\n"));
  const begun = stand.clock.monotonic();
  while (!client.closed && stand.clock.monotonic() < begun + 60_000) {
    answer?.write("1\r\nx\r\n");
    await turns(20);
    await stand.clock.advance(1_000);
  }
  t.ok(stand.clock.monotonic() - begun <= 12_000, `${stand.clock.monotonic() - begun}`);
  t.notMatch(client.came, /0\r\n\r\n$/, "the client cannot take it for the whole");
});

t.test("a head beyond the limit is refused at once, and read no further", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  for (const lines of [[`x: ${"y".repeat(70_000)}`], Array.from({ length: 250 }, (_, at) => `x-${at}: y`)]) {
    const client = openClient(t, stand);
    client.socket.write(head("GET", "/", lines));
    await eventually("it is refused", () => client.came.startsWith("HTTP/1.1 431 "));
    client.socket.end();
    await eventually("it is closed", () => client.closed);
  }
});

t.test("the end of an answer waits for a client that reads slowly, where the connection closes and where it is kept", async (t) => {
  const limits = { lingeringCloseMs: 1_000, keepAliveTimeoutMs: 2_000 };
  const stand = await openStill(t, limits);
  const edgeOf = () => stand.clients.at(-1);
  let over = false;
  const address = await openRawContainer(t, (socket) => {
    socket.on("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const piece = Buffer.from(`1000\r\n${"x".repeat(4_096)}\r\n`);
      const goOn = () => {
        // The last piece is written while one before it still waits, and little enough for all of it to be taken from here.
        if (!isStuck(edgeOf())) socket.write(piece, () => setImmediate(goOn));
        else socket.write("0\r\n\r\n", () => (over = true));
      };
      goOn();
    });
  });
  stand.set(ID, { kind: "awake", address });
  for (const lines of [["Connection: close"], []]) {
    over = false;
    const client = openClient(t, stand);
    client.socket.pause();
    client.socket.write(head("GET", "/", lines));
    await eventually("all that is passed on waits", () => over && stand.uses.get(ID)?.open === 0);
    t.ok(isStuck(edgeOf()), `${edgeOf()?.backlog} bytes wait`);
    await stand.clock.advance(10_000);
    client.socket.resume();
    await eventually("all has come", () => client.came.endsWith("0\r\n\r\n"));
    client.socket.destroy();
  }
});

t.test("the last messages of a WebSocket wait for a client that reads slowly, but not for one that reads nothing", async (t) => {
  const stand = await openStill(t, { lingeringCloseMs: 1_000 });
  const edges = stand.clients;
  let sent = 0;
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => {
      sent = 0;
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      const frame = Buffer.concat([Buffer.from([0x82, 126, 0x10, 0]), Buffer.alloc(4_096)]);
      const goOn = () => {
        if (edges[0] === undefined || isStuck(edges[0])) return void socket.end(Buffer.from([0x88, 0]));
        socket.write(frame, () => setImmediate(goOn));
        sent += frame.length;
      };
      goOn();
    });
  });
  stand.set(ID, { kind: "awake", address });
  for (const reading of [true, false]) {
    edges.length = 0;
    const client = openClient(t, stand);
    client.socket.once("data", () => client.socket.pause());
    client.socket.write(head("GET", "/", ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]));
    await eventually("the container has sent everything", () => edges[0]?.ended === true);
    t.ok(isStuck(edges[0]), `${edges[0]?.backlog} bytes wait`);
    await stand.clock.advance(5_000);
    t.ok(edges[0]?.alive);
    if (reading) client.socket.resume();
    else await stand.clock.advance(60_000);
    if (reading) await eventually("the close has come", () => client.bytes >= sent && client.came.endsWith("\x88\0"));
    else t.notOk(edges[0]?.alive);
    client.socket.destroy();
  }
});

t.test("a client that takes nothing of what waits for it is cut off all the same", async (t) => {
  const stand = await openStill(t, { lingeringCloseMs: 1_000, idleTimeoutMs: 30_000 });
  const edgeOf = () => stand.clients.at(-1);
  const address = await openRawContainer(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const goOn = () => (isStuck(edgeOf()) ? void socket.end() : void socket.write(Buffer.alloc(4_096), () => setImmediate(goOn)));
      goOn();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = openClient(t, stand);
  client.socket.pause();
  client.socket.write(head("GET", "/"));
  await eventually("its exchange is over", () => isStuck(edgeOf()) && stand.uses.get(ID)?.open === 0);
  await stand.clock.advance(25_000);
  t.ok(edgeOf()?.alive);
  await stand.clock.advance(10_000);
  t.notOk(edgeOf()?.alive);
});

t.test("a connection serves on after an early answer, even where the end of its request waited for the container", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  const edgeOf = () => stand.clients.at(-1);
  const containers: Socket[] = [];
  const address = await openRawContainer(t, (socket) => {
    containers.push(socket);
    let tail = "";
    socket.on("data", (bytes: Buffer) => {
      // The next request may come with the end of a body.
      const text = tail + bytes.toString("latin1");
      tail = text.slice(-4);
      if (!/(POST|GET) /.test(text)) return;
      tail = "";
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      if (text.includes("POST ")) socket.pause();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const piece = Buffer.alloc(65_536, "x");
  const early = async (length: number) => {
    const client = openClient(t, stand);
    client.socket.write(head("POST", "/", [`Content-Length: ${length}`]));
    await eventually("the early answer", () => client.came.endsWith("ok"));
    let sent = 0;
    while (sent < length && edgeOf()?.paused === false) {
      client.socket.write(piece.subarray(0, length - sent));
      sent += Math.min(piece.length, length - sent);
      await turns(10);
    }
    return { client, sent };
  };
  // How much it takes until the client has to wait: as much is then a whole request.
  const measured = await early(100 * MIB);
  measured.client.socket.destroy();
  for (let turn = 0; turn < 3; turn++) {
    const { client, sent } = await early(measured.sent);
    for (const socket of containers) socket.resume();
    // The client may have to wait a little earlier than before.
    client.socket.write(Buffer.alloc(measured.sent - sent, "x"));
    client.socket.write(head("GET", "/"));
    await eventually("the next answer", () => client.came.split("ok").length === 3);
  }
});

t.test("the first connection after a long rest has the whole time for its request", async (t) => {
  const stand = await openStill(t, { headersTimeoutMs: 1_000 });
  stand.set(ID, { kind: "awake", address: await answering(t) });
  for (let times = 0; times < 2; times++) {
    // Without a connection no clock of connections runs.
    await stand.clock.advance(60_000);
    const client = openClient(t, stand);
    await eventually("its connection", () => stand.clients.length === times + 1);
    await stand.clock.advance(900);
    t.notOk(client.closed);
    client.socket.write(head("GET", "/"));
    await eventually("its response", () => client.came.endsWith("ok"));
    client.socket.destroy();
    await eventually("its end", () => stand.clients[times]?.closed);
  }
});

t.test("a client that reads slowly slows its container down and loses nothing", async (t) => {
  const clock = createStillClock();
  const stand = await openStand(t, { forwarder: "splice", clock });
  const total = 100 * MIB;
  let written = 0;
  const address = await openRawContainer(t, (socket) => {
    const piece = Buffer.alloc(MIB, "x");
    const goOn = () => {
      for (let isWritable = true; isWritable && written < total; written += MIB) isWritable = socket.write(piece);
    };
    socket.on("drain", goOn);
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`);
      goOn();
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = openClient(t, stand);
  client.socket.pause();
  client.socket.write(head("GET", "/"));
  const inFlight = await stalled(() => written);
  t.ok(inFlight < MOST_IN_FLIGHT, `${inFlight / MIB} MiB`);
  client.socket.resume();
  await eventually("all has come", () => client.bytes >= total);
  await eventually("and all is over", () => stand.uses.get(ID)?.open === 0);
});

t.test("interim responses without end wait for a client that does not read them, too", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  const interim = Buffer.from(`HTTP/1.1 103 Early Hints\r\nLink: </${"x".repeat(1_000)}>\r\n\r\n`.repeat(64));
  let written = 0;
  const address = await openRawContainer(t, (socket) => {
    const goOn = () => {
      for (let isWritable = true; isWritable && written < 4 * MOST_IN_FLIGHT; written += interim.length) isWritable = socket.write(interim);
      if (written >= 4 * MOST_IN_FLIGHT) socket.off("drain", goOn).write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    };
    socket.on("drain", goOn);
    socket.once("data", () => {
      goOn();
      socket.on("data", () => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"));
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = openClient(t, stand);
  client.socket.pause();
  client.socket.write(head("GET", "/"));
  const inFlight = await stalled(() => written);
  t.ok(inFlight < MOST_IN_FLIGHT, `${inFlight / MIB} MiB`);
  client.socket.resume();
  await eventually("all has come", () => client.bytes > written && client.came.endsWith("ok"));
  client.socket.write(head("GET", "/"));
  await eventually("the next answer", () => client.came.endsWith("next"));
});

t.test("who sends requests and reads no answers is read no further, and loses nothing", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  let requests = 0;
  const count = 3_000;
  const body = "x".repeat(16_384);
  stand.set(ID, { kind: "awake", address: await answering(t, body, () => requests++) });
  const client = openClient(t, stand);
  client.socket.pause();
  for (let turn = 0; turn < count; turn++) client.socket.write(head("GET", `/${turn}`));
  const inFlight = (await stalled(() => requests)) * body.length;
  t.ok(inFlight < MOST_IN_FLIGHT, `${inFlight / MIB} MiB`);
  client.socket.resume();
  await eventually("all are queried", () => requests === count);
  await eventually("all have come", () => client.bytes > count * body.length);
  client.socket.write(head("GET", "/last", ["Connection: close"]));
  await eventually("the last is answered", () => client.closed);
  t.equal(requests, count + 1);
  t.ok(client.bytes > (count + 1) * body.length, `${client.bytes} bytes`);
});

t.test("a container that stops reading stops its client, and nothing is lost once it reads on", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  const total = 100 * MIB;
  let came = 0;
  let container: Socket | undefined;
  const address = await openRawContainer(t, (socket) => {
    container = socket;
    let begun = false;
    socket.on("data", (bytes: Buffer) => {
      came += begun ? bytes.length : bytes.length - (bytes.indexOf("\r\n\r\n") + 4);
      if (!begun) socket.pause();
      begun = true;
      if (came === total) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  stand.set(ID, { kind: "awake", address });
  const client = openClient(t, stand);
  let written = 0;
  const piece = Buffer.alloc(MIB, "x");
  const goOn = () => {
    for (let isWritable = true; isWritable && written < total; written += MIB) isWritable = client.socket.write(piece);
  };
  client.socket.write(head("POST", "/", [`Content-Length: ${total}`]));
  client.socket.on("drain", goOn);
  goOn();
  const inFlight = await stalled(() => written);
  t.ok(inFlight < MOST_IN_FLIGHT, `${inFlight / MIB} MiB`);
  container?.resume();
  await eventually("it is answered", () => client.came.endsWith("ok"));
  t.equal(came, total);
});
