import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import type { Socket } from "node:net";
import t from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { MAX_BACKLOG } from "../../../gateway/connections/socket-layer.ts";
import { ALL, openPairs } from "./layer-stand.ts";

/** Collects what a peer receives. */
function collect(peer: Socket): { text(): string; bytes(): Buffer } {
  const chunks: Buffer[] = [];
  peer.on("data", (chunk: Buffer) => chunks.push(chunk));
  return { text: () => Buffer.concat(chunks).toString("latin1"), bytes: () => Buffer.concat(chunks) };
}

for (const each of ALL) {
  t.test(`${each.name}: bytes return in order, from each kind of memory`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    const received = collect(peer);
    const foreign = Buffer.from("foreign ");
    const large = Buffer.alloc(300_000, "large");
    const own = randomBytes(200_000);
    socket.onBytes = (memory, at, end) => {
      const { layer, id } = socket;
      layer.send(id, memory, at, end);
      socket.place("placed ");
      layer.send(id, foreign, 0, foreign.length);
      socket.place("again ");
      layer.send(id, memory, at, at + 2);
      layer.send(id, large, 1, large.length);
      layer.sendOwn(id, own);
      socket.place("last");
      // The caller may use its memory again.
      process.nextTick(() => {
        foreign.fill(0);
        large.fill(0);
      });
    };
    socket.layer.resume(socket.id);
    const expected = ["hello ", "placed ", "foreign ", "again ", "he", Buffer.alloc(300_000, "large").subarray(1), own, "last"];
    peer.write("hello ");
    const all = Buffer.concat(expected.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
    await eventually("everything to return", () => received.bytes().length >= all.length);
    t.ok(received.bytes().equals(all));
    peer.end();
  });

  t.test(`${each.name}: random messages of all sizes return unchanged`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    socket.onBytes = (memory, at, end) => {
      if (!socket.layer.send(socket.id, memory, at, end)) socket.layer.pause(socket.id);
    };
    socket.onDrain = () => socket.layer.resume(socket.id);
    socket.onEnd = () => socket.layer.end(socket.id);
    socket.layer.resume(socket.id);
    const [sent, returned] = [createHash("sha256"), createHash("sha256")];
    peer.on("data", (chunk: Buffer) => returned.update(chunk));
    for (let size = 1; size < 4_000_000; size = Math.ceil(size * 1.7)) {
      const chunk = randomBytes(size);
      sent.update(chunk);
      if (!peer.write(chunk)) await once(peer, "drain");
    }
    peer.end();
    await once(peer, "end");
    t.equal(returned.digest("hex"), sent.digest("hex"));
    await eventually("the socket to close", () => socket.closes === 1);
    t.equal(socket.error, undefined);
  });

  t.test(`${each.name}: the peer ends first, and still receives`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    const received = collect(peer);
    socket.layer.resume(socket.id);
    peer.end("request");
    await eventually("the end", () => socket.ends === 1);
    t.equal(socket.text, "request");
    t.equal(socket.closes, 0);
    socket.send("response");
    await eventually("the response", () => received.text() === "response");
    socket.send(", more");
    socket.layer.end(socket.id);
    socket.send("dropped");
    await once(peer, "end");
    t.equal(received.text(), "response, more");
    await eventually("the socket to close", () => socket.closes === 1);
    t.strictSame([socket.ends, socket.error], [1, undefined]);
  });

  t.test(`${each.name}: the layer ends first, and still receives`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    socket.layer.resume(socket.id);
    const received = collect(peer);
    socket.send("first");
    socket.layer.end(socket.id);
    socket.layer.end(socket.id);
    await once(peer, "end");
    t.equal(received.text(), "first");
    peer.write("later");
    await eventually("later bytes", () => socket.text === "later");
    t.equal(socket.closes, 0);
    peer.end();
    await eventually("the socket to close", () => socket.closes === 1);
    t.strictSame([socket.ends, socket.error], [1, undefined]);
  });

  t.test(`${each.name}: close sends what was sent before, and reports the close once, later`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    const received = collect(peer);
    socket.layer.resume(socket.id);
    socket.onBytes = () => {
      socket.send("bye");
      socket.layer.close(socket.id);
      socket.layer.close(socket.id);
      t.equal(socket.closes, 0);
      t.equal(socket.send("too late"), true);
    };
    peer.write("?");
    await once(peer, "end");
    t.equal(received.text(), "bye");
    await eventually("the close", () => socket.closes === 1);
    t.strictSame([socket.ends, socket.error], [0, undefined]);
  });

  t.test(`${each.name}: the peer breaks off`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    socket.layer.resume(socket.id);
    peer.write("some");
    await eventually("the bytes", () => socket.text === "some");
    if (each.transport === "Unix") {
      // A Unix socket is reset by a close with unread bytes.
      peer.pause();
      socket.send("unread");
      await new Promise((resolve) => setImmediate(resolve));
      peer.destroy();
      await eventually("the end", () => socket.closes + socket.ends > 0);
      return;
    }
    if (each.transport === "TLS") (Reflect.get(peer, "_parent") as Socket | undefined)?.resetAndDestroy();
    else peer.resetAndDestroy();
    peer.destroy();
    await eventually("the close", () => socket.closes + socket.ends > 0);
    if (each.transport === "TLS") return;
    t.strictSame([socket.closes, socket.ends, socket.error?.code], [1, 0, "ECONNRESET"]);
  });

  t.test(`${each.name}: a peer that is gone is noticed while the socket is paused`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    t.equal(socket.layer.isBroken(socket.id), false);
    if (each.transport === "Unix" || each.transport === "TLS") peer.destroy();
    else peer.resetAndDestroy();
    if (each.transport !== "TLS") await eventually("it to be noticed", () => socket.layer.isBroken(socket.id));
    t.strictSame([socket.closes, socket.ends], [0, 0]);
    socket.layer.resume(socket.id);
    await eventually("the end or error", () => socket.closes + socket.ends > 0);
  });

  t.test(`${each.name}: the layer resets`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    socket.layer.resume(socket.id);
    peer.resume();
    socket.layer.reset(socket.id);
    await eventually("the peer to notice", () => peer.closed || (each.transport === "Unix" && peer.readableEnded));
    if (each.transport !== "Unix") t.equal(Reflect.get(peer.errored ?? {}, "code"), "ECONNRESET");
    await eventually("the close", () => socket.closes === 1);
    t.equal(socket.error, undefined);
  });

  t.test(`${each.name}: a reset behind the end leaves no descriptor`, async (t) => {
    const { pair } = await openPairs(t, each);
    const descriptors = readdirSync("/proc/self/fd").length;
    const { socket, peer } = await pair();
    peer.resume().once("end", () => peer.end());
    socket.layer.end(socket.id);
    socket.layer.reset(socket.id);
    await eventually("both closes", () => socket.closes === 1 && peer.closed);
    await eventually("the descriptors to be as before", () => readdirSync("/proc/self/fd").length <= descriptors, 5_000);
  });

  t.test(`${each.name}: a peer that does not read causes a backlog, and one drain when it reads`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    socket.layer.resume(socket.id);
    peer.pause();
    const chunk = randomBytes(65_536);
    const [sent, received] = [createHash("sha256"), createHash("sha256")];
    let length = 0;
    let falses = 0;
    // Backlog is known a turn late. Of TLS, every message waits for a turn.
    while (falses < 2 || socket.layer.backlog(socket.id) === 0) {
      length += chunk.length;
      sent.update(chunk);
      if (!socket.layer.send(socket.id, chunk, 0, chunk.length)) falses++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.ok(socket.layer.backlog(socket.id) > 0);
    t.ok(socket.layer.backlog(socket.id) <= 4 * chunk.length, `the backlog is ${socket.layer.backlog(socket.id)} bytes`);
    const before = socket.drains;
    if (each.transport !== "TLS") t.equal(before, 0);
    peer.on("data", (bytes: Buffer) => received.update(bytes)).resume();
    await eventually("the drain", () => socket.drains > before);
    t.equal(socket.layer.backlog(socket.id), 0);
    socket.layer.end(socket.id);
    await once(peer, "end");
    t.equal(received.digest("hex"), sent.digest("hex"));
    t.equal(socket.drains, before + 1);
    t.equal(peer.bytesRead >= length, true);
  });

  t.test(`${each.name}: a long backlog of short messages of one turn is followed by a drain`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    peer.pause();
    const message = randomBytes(16_000);
    let falses = 0;
    while (socket.layer.backlog(socket.id) < MAX_BACKLOG) {
      for (let nth = 0; nth < 25; nth++) if (!socket.layer.send(socket.id, message, 0, message.length)) falses++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.equal(falses, 0);
    peer.resume();
    await eventually("the drain", () => socket.drains === 1);
    t.equal(socket.layer.backlog(socket.id), 0);
  });

  t.test(`${each.name}: the end follows the backlog`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    peer.pause();
    const all = randomBytes(12_000_000);
    socket.layer.sendOwn(socket.id, Buffer.from(all));
    socket.layer.end(socket.id);
    t.ok(socket.layer.backlog(socket.id) > 0);
    const received = collect(peer);
    peer.resume();
    await once(peer, "end");
    t.ok(received.bytes().equals(all));
  });

  t.test(`${each.name}: a paused socket receives nothing, not even its end`, async (t) => {
    const { pair } = await openPairs(t, each);
    const { socket, peer } = await pair();
    const other = await pair();
    peer.end("bytes and end");
    other.socket.layer.resume(other.socket.id);
    for (let round = 0; round < 20; round++) {
      other.peer.write("x");
      await eventually("another socket's bytes", () => other.socket.bytes === round + 1);
    }
    t.strictSame([socket.bytes, socket.ends], [0, 0]);
    socket.layer.resume(socket.id);
    await eventually("the end", () => socket.ends === 1);
    t.equal(socket.text, "bytes and end");
  });

  t.test(`${each.name}: a handler may pause and close other sockets of its turn`, async (t) => {
    const { pair } = await openPairs(t, each);
    // One after the other: handshakes end in any order.
    const pairs: Awaited<ReturnType<typeof pair>>[] = [];
    for (let count = 0; count < 10; count++) pairs.push(await pair());
    let first: (typeof pairs)[number] | undefined;
    for (const one of pairs) {
      one.socket.onBytes = () => {
        if (first !== undefined) return void t.fail("the bytes of a paused or closed socket came");
        first = one;
        for (const [index, { socket }] of pairs.entries()) {
          if (socket === one.socket) continue;
          if (index % 2 === 0) socket.layer.pause(socket.id);
          else socket.layer.close(socket.id);
        }
      };
      one.socket.layer.resume(one.socket.id);
      one.peer.write("x");
    }
    const closing = () => pairs.filter(({ socket }, index) => index % 2 === 1 && socket !== first?.socket);
    await eventually("the closes", () => first !== undefined && closing().every(({ socket }) => socket.closes === 1));
    const paused = pairs.filter(({ socket }, index) => index % 2 === 0 && socket !== first?.socket);
    for (const { socket, peer } of paused) {
      socket.onBytes = undefined;
      peer.write("y");
    }
    const later = await pair();
    later.socket.layer.resume(later.socket.id);
    later.peer.write("z");
    await eventually("bytes that come after those of the paused ones", () => later.socket.text === "z");
    for (const { socket } of paused) socket.layer.resume(socket.id);
    await eventually("the bytes of paused sockets", () => paused.every(({ socket }) => socket.text === "xy"));
  });

  t.test(`${each.name}: a connection that breaks behind its end, while a handler of its turn has paused it`, async (t) => {
    if (each.transport !== "Unix" || each.kind.name === "node") return t.comment("others report the end only");
    const { stand, pair } = await openPairs(t, each);
    const [first, ending] = [await pair(), await pair()];
    first.socket.onBytes = () => stand.layer.pause(ending.socket.id);
    for (const { socket } of [first, ending]) stand.layer.resume(socket.id);
    first.peer.write("x");
    ending.peer.end();
    await eventually("the pause", () => first.socket.bytes === 1);
    t.equal(ending.socket.ends, 0);
    // More than the peer's stream reads ahead: unread bytes break the connection.
    ending.socket.send("x".repeat(100_000));
    await eventually("bytes to come", () => ending.peer.readableLength > 0);
    ending.peer.destroy();
    await eventually("it to break", () => stand.layer.isBroken(ending.socket.id));
    stand.layer.resume(ending.socket.id);
    await eventually("the close", () => ending.socket.closes === 1, 5_000);
    t.match(ending.socket.error, { code: "ECONNRESET" });
  });

  t.test(`${each.name}: numbers of closed sockets do nothing, and their slots are used again`, async (t) => {
    const { stand, pair } = await openPairs(t, each);
    const descriptors = readdirSync("/proc/self/fd").length;
    const old: number[] = [];
    for (let round = 0; round < 30; round++) {
      const pairs = await Promise.all(Array.from({ length: 8 }, () => pair()));
      for (const { socket, peer } of pairs) {
        if (old.includes(socket.id)) t.fail("a number was used twice");
        socket.layer.resume(socket.id);
        peer.write("x");
        peer.resume();
      }
      // Late calls.
      for (const id of old) {
        stand.layer.send(id, Buffer.from("stray"), 0, 5);
        stand.layer.pause(id);
        stand.layer.end(id);
        stand.layer.reset(id);
        if (stand.layer.backlog(id) !== 0) t.fail("a closed socket has a backlog");
      }
      await eventually("the bytes", () => pairs.every(({ socket }) => socket.text === "x"));
      for (const { socket, peer } of pairs) {
        old.push(socket.id);
        // Bytes, an end and a close at once.
        peer.end("late");
        if (round % 3 === 0) socket.layer.close(socket.id);
        else if (round % 3 === 1) socket.layer.reset(socket.id);
        else socket.layer.end(socket.id);
      }
      await eventually("the closes", () => pairs.every(({ socket, peer }) => socket.closes === 1 && peer.closed));
      t.ok(pairs.every(({ peer }) => peer.bytesRead === 0));
    }
    t.equal(stand.stray, 0);
    t.ok(new Set(old.map((id) => id % 2 ** 20)).size <= 16, "slots are used again");
    await eventually("the descriptors to be as before", () => readdirSync("/proc/self/fd").length <= descriptors);
  });

  t.test(`${each.name}: with readToEnd, a refused write is not the end`, async (t) => {
    const { pair } = await openPairs(t, each, { readToEnd: true });
    const { socket, peer } = await pair();
    const chunk = Buffer.alloc(1_000_000);
    let sends = 0;
    const pour = (): void => {
      if (socket.closes > 0 || sends++ > 200) return;
      if (socket.layer.send(socket.id, chunk, 0, chunk.length)) setImmediate(pour);
      else socket.onDrain = pour;
    };
    pour();
    peer.once("data", () => {
      peer.pause();
      peer.write("refused", () => peer.destroy());
    });
    await eventually("the peer to be gone", () => peer.closed);
    socket.layer.resume(socket.id);
    await eventually("the end or error", () => socket.ends + socket.closes > 0);
    socket.layer.close(socket.id);
    await eventually("the close", () => socket.closes === 1);
    t.ok(socket.text === "refused" || socket.text === "");
  });
}
