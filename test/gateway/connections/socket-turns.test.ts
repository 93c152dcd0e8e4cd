import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, connect, Socket } from "node:net";
import { Duplex } from "node:stream";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { POISON } from "../../../gateway/connections/socket-layer.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { ALL, LAYERS, LayerStand, openPairs } from "./layer-stand.ts";

const PIECE_BYTES = 1_048_576;
const GIB_PIECES = 1_024;

/** The largest backlog that one read leaves behind a sender that pauses at once. */
const MAX_BACKLOG = 1_200_000;
/** Node's own peer makes a new buffer for each read, and leaves it to the garbage collector. */
const MAX_BUFFER_BYTES = 256 * 1_048_576;

// Long bodies are the same with and without io_uring.
for (const each of ALL.filter(({ kind, transport }) => transport === "TLS" || (transport === "IPv4" && kind.name !== "ffi"))) {
  t.test(`${each.name}: 1 GiB is echoed in bounded memory`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    let maxBacklog = 0;
    socket.onBytes = (memory, at, end) => {
      if (!socket.layer.send(socket.id, memory, at, end)) socket.layer.pause(socket.id);
      maxBacklog = Math.max(maxBacklog, socket.layer.backlog(socket.id));
    };
    socket.onDrain = () => socket.layer.resume(socket.id);
    socket.onEnd = () => socket.layer.end(socket.id);
    socket.layer.resume(socket.id);
    const pieces = each.transport === "TLS" ? GIB_PIECES / 8 : GIB_PIECES;
    const [sent, returned] = [createHash("sha1"), createHash("sha1")];
    let maxBuffers = 0;
    peer.on("data", (chunk: Buffer) => {
      returned.update(chunk);
      maxBuffers = Math.max(maxBuffers, process.memoryUsage().arrayBuffers);
    });
    const before = process.memoryUsage().arrayBuffers;
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let index = 0; index < pieces; index++) {
      piece.writeUInt32LE(index, index % 1_000);
      sent.update(piece);
      if (!peer.write(piece)) await once(peer, "drain");
      // The peer's stream refers to the piece until its write is done.
      await eventually("the piece to be sent", () => peer.writableLength === 0);
    }
    peer.end();
    await once(peer, "end");
    t.equal(returned.digest("hex"), sent.digest("hex"));
    t.equal(socket.bytes, pieces * PIECE_BYTES);
    t.ok(maxBacklog <= MAX_BACKLOG, `the backlog was at most ${maxBacklog} bytes`);
    t.ok(maxBuffers - before < MAX_BUFFER_BYTES, `buffers had at most ${((maxBuffers - before) / 1_048_576).toFixed(0)} MiB`);
  });
}

for (const kind of LAYERS) {
  t.test(`${kind.name}: a thousand sockets echo at once, and busy ones do not stop timers`, async (t) => {
    const { stand, pair } = await openPairs(t, { kind, transport: "IPv4" });
    const pairs = await Promise.all(Array.from({ length: 500 }, () => pair()));
    let bytes = 0;
    let [most, before] = [0, 0];
    for (const { socket, peer } of pairs) {
      socket.onBytes = (memory, at, end) => {
        bytes += end - at;
        if (!stand.layer.send(socket.id, memory, at, end)) stand.layer.pause(socket.id);
      };
      socket.onDrain = () => stand.layer.resume(socket.id);
      socket.onEnd = () => stand.layer.end(socket.id);
      stand.layer.resume(socket.id);
      peer.resume().end(Buffer.alloc(200_000, "x"));
    }
    let closed = false;
    const look = () => {
      most = Math.max(most, bytes - before);
      before = bytes;
      if (!closed) setImmediate(look);
    };
    look();
    await eventually("all to close", () => pairs.every(({ socket, peer }) => socket.closes === 1 && peer.readableEnded));
    closed = true;
    t.ok(pairs.every(({ peer }) => peer.bytesRead === 200_000));
    // Two turns may lie between two looks.
    t.ok(most <= 2 * kind.turnBytes, `at most ${most} bytes between two turns of the event loop`);
  });

  t.test(`${kind.name}: an exception in a handler is an ordinary uncaught exception, and other sockets go on`, async (t) => {
    const script = join(tempFolder(t), "throws.ts");
    const stand = JSON.stringify(join(import.meta.dirname, "layer-stand.ts"));
    writeFileSync(
      script,
      `import { LAYERS, openPairs } from ${stand};
      import { eventually } from ${JSON.stringify(join(import.meta.dirname, "../../fixtures/eventually.ts"))};
      const caught = [];
      process.on("uncaughtException", (error) => caught.push(error.message));
      const ends = [];
      const t = { teardown: (end) => ends.push(end) };
      const kind = LAYERS.find(({ name }) => name === ${JSON.stringify(kind.name)});
      const { pair } = await openPairs(t, { kind, transport: "IPv4" });
      const pairs = await Promise.all(Array.from({ length: 20 }, pair));
      for (const [index, { socket, peer }] of pairs.entries()) {
        socket.onBytes = () => {
          if (index % 2 === 0) throw new Error("bytes");
          socket.send("answer");
        };
        socket.onClose = () => { throw new Error("close"); };
        socket.layer.resume(socket.id);
        peer.write("x");
      }
      await eventually("answers", () => caught.length === 10 && pairs.every(({ peer }, index) => index % 2 === 0 || peer.readableLength === 6 || peer.read() !== null));
      for (const { socket } of pairs) socket.layer.close(socket.id);
      await eventually("closes", () => caught.length === 30);
      for (const end of ends.reverse()) await end();
      console.log(caught.filter((message) => message === "close").length);
      // The process ends by itself.`,
    );
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], { timeout: 60_000 });
    t.strictSame([stdout, stderr], ["20\n", ""]);
  });

  t.test(`${kind.name}: what it cannot take is untouched`, async (t) => {
    const { layer } = new LayerStand(kind);
    if (kind.name === "node") return;
    t.equal(layer.adopt(new Duplex({ read: () => undefined, write: () => undefined }), { readToEnd: false }), -1);
    t.equal(layer.adopt(new Socket(), { readToEnd: false }), -1, "not connected");
    const server = createServer((socket) => socket.end("bytes"));
    const { port } = await listen(t, server);
    const client = connect(port, "127.0.0.1");
    await once(client, "readable");
    t.equal(layer.adopt(client, { readToEnd: false }), -1, "already read");
    t.equal(client.destroyed, false);
    t.equal(String(client.read()), "bytes");
    client.destroy();
  });
}

for (const kind of LAYERS.filter(({ name }) => name !== "node")) {
  t.test(`${kind.name}: the memory of a turn is overwritten after it`, async (t) => {
    const { pair } = await openPairs(t, { kind, transport: "IPv4" });
    const { socket, peer } = await pair();
    let kept: Buffer | undefined;
    socket.onBytes = (memory, at, end) => {
      kept = memory.subarray(at, end);
      socket.layer.send(socket.id, memory, at, end);
    };
    socket.layer.resume(socket.id);
    peer.write("secret");
    const [answer] = (await once(peer, "data")) as [Buffer];
    t.equal(String(answer), "secret");
    t.strictSame(kept, Buffer.alloc(6, POISON));
  });

  t.test(`${kind.name}: many sockets send many ranges in one turn`, async (t) => {
    const { stand, pair } = await openPairs(t, { kind, transport: "IPv4" });
    const pairs = await Promise.all(Array.from({ length: 300 }, () => pair()));
    const received = pairs.map(({ peer }) => {
      const chunks: Buffer[] = [];
      peer.on("data", (chunk: Buffer) => chunks.push(chunk));
      return chunks;
    });
    const [{ socket: first, peer }] = pairs as [(typeof pairs)[number]];
    first.onBytes = (memory, at) => {
      // Ranges of what came, the last byte first: no two are one.
      for (const { socket } of pairs) for (let index = 9; index >= 0; index--) stand.layer.send(socket.id, memory, at + index, at + index + 1);
    };
    first.layer.resume(first.id);
    peer.write("0123456789");
    await eventually("all to arrive", () => received.every((chunks) => Buffer.concat(chunks).toString() === "9876543210"));
  });
}

for (const each of ALL.filter(({ transport }) => transport === "IPv4")) {
  t.test(`${each.name}: a socket that a refused write closes within a turn is not read any more, and closes once`, async (t) => {
    const { stand, pair } = await openPairs(t, each);
    // Their bytes fill the memory of a turn, before sockets are read whose other end is gone.
    const pairs: Record<"full" | "gone", Awaited<ReturnType<typeof pair>>>[] = [];
    for (let nth = 0; nth < 24; nth++) pairs.push({ full: await pair(), gone: await pair() });
    const before = new Map<Socket, number>();
    for (const { full } of pairs) full.peer.write(Buffer.alloc(4 * PIECE_BYTES));
    await eventually("the kernel's buffers to be full", () =>
      pairs.every(({ full: { peer } }) => {
        const was = before.get(peer);
        before.set(peer, peer.writableLength);
        return was === peer.writableLength;
      }),
    );
    for (const { gone } of pairs) gone.peer.resetAndDestroy();
    await eventually("the resets to come", () => pairs.every(({ gone }) => stand.layer.isBroken(gone.socket.id)));
    for (const { full, gone } of pairs) {
      full.socket.onBytes = () => void stand.layer.send(gone.socket.id, Buffer.from("a"), 0, 1);
      stand.layer.resume(full.socket.id);
      stand.layer.resume(gone.socket.id);
    }
    await eventually("all to be closed", () => pairs.every(({ gone }) => gone.socket.closes > 0));
    for (const { full } of pairs) await eventually("all to be read", () => full.socket.bytes === 4 * PIECE_BYTES);
    t.same([stand.stray, pairs.map(({ gone }) => gone.socket.closes)], [0, pairs.map(() => 1)]);
  });
}

for (const each of ALL) {
  t.test(`${each.name}: what is placed for a closed socket changes no bytes of another`, async (t) => {
    const { pair } = await openPairs(t, each);
    const [closed, open] = [await pair(), await pair()];
    closed.socket.layer.close(closed.socket.id);
    await eventually("it to be closed", () => closed.socket.closes === 1);
    open.socket.place("its own bytes");
    closed.socket.place("those of a closed socket");
    open.socket.place(", and more");
    const received: Buffer[] = [];
    open.peer.on("data", (chunk: Buffer) => received.push(chunk));
    await eventually("all of it", () => Buffer.concat(received).length >= 23);
    t.equal(Buffer.concat(received).toString(), "its own bytes, and more");
  });
}
