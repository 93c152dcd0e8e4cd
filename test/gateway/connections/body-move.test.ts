import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import type { Socket } from "node:net";
import t, { type Test } from "tap";
import { eventually } from "../../fixtures/eventually.ts";
import { ALL, openPairs } from "./layer-stand.ts";

const MIB = 1_048_576;
const MOVING = ALL.filter(({ kind }) => kind.name !== "node");

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Two connections of one layer. The bytes that come from one are moved to the other, from `begin` on. */
async function openMove(t: Test, each: (typeof ALL)[number], bytes: number) {
  const { stand, pair } = await openPairs(t, each);
  const [{ socket: from, peer: sender }, { socket: to, peer: receiver }] = [await pair(), await pair()];
  const begin = (): boolean => {
    const moves = from.layer.move(from.id, to.id, bytes);
    from.layer.resume(from.id);
    return moves;
  };
  return { stand, from, to, sender, receiver, begin };
}

async function send(peer: Socket, bytes: Buffer): Promise<void> {
  if (!peer.write(bytes)) await once(peer, "drain");
}

/** What a peer receives. */
function digest(peer: Socket): { bytes: number; hex(): string } {
  const hash = createHash("sha256");
  const received = { bytes: 0, hex: () => hash.copy().digest("hex") };
  peer.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    received.bytes += chunk.length;
  });
  return received;
}

for (const each of ALL.filter(({ kind }) => kind.name === "node"))
  t.test(`${each.name}: nothing is moved, and bytes come as usual`, async (t) => {
    const { from, sender, begin } = await openMove(t, each, MIB);
    t.equal(begin(), false);
    await send(sender, Buffer.from("bytes"));
    await eventually("the bytes", () => from.text === "bytes");
  });

for (const each of MOVING) {
  t.test(`${each.name}: bytes that came in the turn in which a move begins come once`, async (t) => {
    const { stand, pair } = await openPairs(t, each);
    const pairs = [await pair(), await pair(), await pair()] as const;
    const [{ socket: first, peer }, { socket: from, peer: sender }, { socket: to, peer: receiver }] = pairs;
    const received = digest(receiver);
    let moves: boolean | undefined;
    first.onBytes = () => {
      moves = stand.layer.move(from.id, to.id, 5);
    };
    for (const one of [peer, sender]) one.write("bytes");
    // Both are known to have bytes, so both are ready in the same turn.
    const other = await pair();
    for (const { socket } of [...pairs, other]) socket.layer.resume(socket.id);
    other.peer.write("later");
    await eventually("all bytes", () => other.socket.bytes + from.bytes + received.bytes === 10);
    t.equal(received.bytes, moves ? 5 : 0);
    t.equal(from.bytes, moves ? 0 : 5);
  });

  t.test(`${each.name}: bytes are moved in order, and those behind them are read`, async (t) => {
    const body = randomBytes(24 * MIB);
    const { from, to, sender, receiver, begin } = await openMove(t, each, body.length);
    const before = descriptors();
    const received = digest(receiver);
    // What was sent before comes first, in each kind of memory.
    to.send("placed ");
    to.layer.sendOwn(to.id, Buffer.alloc(3 * MIB, "before"));
    t.equal(begin(), true);
    t.equal(from.layer.move(from.id, to.id, 1), false, "one move at a time");
    for (let at = 0; at < body.length; at += 700_000) await send(sender, body.subarray(at, at + 700_000));
    await send(sender, Buffer.from("behind"));
    await eventually("everything to arrive", () => from.moved === body.length && from.text === "behind");
    to.send(" last");
    const expected = Buffer.concat([Buffer.from("placed "), Buffer.alloc(3 * MIB, "before"), body, Buffer.from(" last")]);
    await eventually("everything to be received", () => received.bytes >= expected.length);
    t.equal(received.hex(), createHash("sha256").update(expected).digest("hex"));
    await eventually("the pipe to be closed", () => descriptors() === before);
  });

  t.test(`${each.name}: a receiver that takes nothing holds the sender, and loses nothing`, async (t) => {
    const body = randomBytes(48 * MIB);
    const { from, to, sender, receiver, begin } = await openMove(t, each, body.length);
    t.ok(begin());
    receiver.pause();
    sender.write(body);
    let moved = -1;
    await eventually("the move to stop", () => {
      const stopped = from.moved === moved && from.moved > 0 && to.layer.backlog(to.id) > 0;
      moved = from.moved;
      return stopped;
    });
    t.ok(moved < body.length, `${moved} bytes were moved`);
    t.ok(to.layer.backlog(to.id) <= MIB, `${to.layer.backlog(to.id)} bytes wait`);
    const received = digest(receiver);
    receiver.resume();
    await eventually("everything to be received", () => received.bytes === body.length);
    t.equal(received.hex(), createHash("sha256").update(body).digest("hex"));
    t.equal(from.moved, body.length);
  });

  t.test(`${each.name}: a paused socket moves nothing until it is resumed`, async (t) => {
    const { from, sender, receiver, begin } = await openMove(t, each, MIB);
    const received = digest(receiver);
    t.ok(begin());
    await send(sender, Buffer.alloc(1_000, "x"));
    await eventually("the first bytes", () => received.bytes === 1_000);
    from.layer.pause(from.id);
    await send(sender, Buffer.alloc(1_000, "y"));
    // A turn of the layer has passed when another socket's bytes went there and back.
    const { pair } = await openPairs(t, each);
    const other = await pair();
    other.socket.layer.resume(other.socket.id);
    other.peer.write("a turn");
    await eventually("a turn", () => other.socket.text === "a turn");
    t.equal(from.moved, 1_000);
    from.layer.resume(from.id);
    await eventually("the rest", () => received.bytes === 2_000);
  });

  t.test(`${each.name}: an early end comes after the bytes before it`, async (t) => {
    const { from, to, sender, receiver, begin } = await openMove(t, each, 64 * MIB);
    const body = randomBytes(5 * MIB);
    const received = digest(receiver);
    t.ok(begin());
    sender.end(body);
    let movedAtEnd = -1;
    from.onEnd = () => {
      movedAtEnd = from.moved;
      to.layer.end(to.id);
    };
    await once(receiver, "end");
    t.equal(movedAtEnd, body.length);
    t.equal(received.hex(), createHash("sha256").update(body).digest("hex"));
  });

  t.test(`${each.name}: a sender that resets closes its socket, and the pipe`, async (t) => {
    if (each.transport === "Unix") return t.comment("Unix sockets have no reset");
    const { from, to, sender, receiver, begin } = await openMove(t, each, 64 * MIB);
    const before = descriptors();
    receiver.pause();
    t.ok(begin());
    sender.write(Buffer.alloc(16 * MIB));
    await eventually("some bytes", () => from.moved > 0);
    sender.resetAndDestroy();
    receiver.resume();
    await eventually("the socket to close", () => from.closes === 1);
    t.match(from.error, { code: "ECONNRESET" });
    t.equal(to.closes, 0);
    to.layer.close(to.id);
    receiver.destroy();
    await eventually("all four and the pipe to be closed", () => descriptors() <= before - 4);
  });

  t.test(`${each.name}: after a receiver that leaves, the rest is read`, async (t) => {
    const { stand, from, to, sender, receiver, begin } = await openMove(t, each, 64 * MIB);
    const before = descriptors();
    from.onBytes = () => undefined;
    receiver.pause();
    t.ok(begin());
    const total = 32 * MIB;
    sender.write(Buffer.alloc(total));
    await eventually("some bytes", () => from.moved > 0);
    receiver.destroy();
    await eventually("its socket to close", () => to.closes === 1);
    await eventually("the rest", () => from.moved + from.bytes === total);
    t.ok(from.bytes > 0);
    await eventually("the receiver's two and the pipe to be closed", () => descriptors() <= before - 2);
    t.equal(stand.stray, 0, "no event came after the last");
  });

  t.test(`${each.name}: each socket may close within an event of a move`, async (t) => {
    for (const which of ["from", "to"] as const) {
      const { stand, from, to, sender, receiver, begin } = await openMove(t, each, 64 * MIB);
      const before = descriptors();
      from.onMoved = () => (which === "from" ? from : to).layer.close((which === "from" ? from : to).id);
      receiver.resume();
      t.ok(begin());
      sender.write(Buffer.alloc(8 * MIB));
      await eventually("the socket to close", () => (which === "from" ? from : to).closes === 1);
      for (const socket of [from, to]) socket.layer.close(socket.id);
      sender.destroy();
      receiver.destroy();
      await eventually("all four and the pipe to be closed", () => descriptors() <= before - 4);
      t.equal(stand.stray, 0, "no event came after the last");
    }
  });

  t.test(`${each.name}: many moves at once, and beyond the limit bodies are read`, async (t) => {
    const { pair } = await openPairs(t, each);
    const pairs: Record<"from" | "to", Awaited<ReturnType<typeof pair>>>[] = [];
    for (let count = 0; count < 140; count++) pairs.push({ from: await pair(), to: await pair() });
    const moves = pairs.map(({ from, to }) => from.socket.layer.move(from.socket.id, to.socket.id, MIB));
    t.equal(moves.filter(Boolean).length, 128);
    for (const { from, to } of pairs) {
      to.peer.resume();
      from.socket.layer.resume(from.socket.id);
      from.peer.write(Buffer.alloc(100_000));
    }
    await eventually("all bytes", () => pairs.every(({ from }) => from.socket.moved + from.socket.bytes === 100_000));
    for (const { from } of pairs) from.socket.layer.close(from.socket.id);
    await eventually("the sockets to close", () => pairs.every(({ from }) => from.socket.closes === 1));
    const [a, b] = [await pair(), await pair()];
    t.ok(a.socket.layer.move(a.socket.id, b.socket.id, MIB), "the limit counts open moves only");
  });
}
