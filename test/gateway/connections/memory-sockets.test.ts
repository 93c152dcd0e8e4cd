import { setImmediate as turn } from "node:timers/promises";
import t from "tap";
import { type MemoryPeer, MemorySockets } from "../../../gateway/connections/memory-sockets.ts";
import { MAX_BACKLOG, type SocketEvents } from "../../../gateway/connections/socket-layer.ts";

/** A socket whose two ends note what happens, in order. `keeps`: the peer passes nothing on by itself. */
function openPair({ keeps = false } = {}) {
  const noted: string[] = [];
  const text = (memory: Buffer, at: number, end: number) => (end - at > 40 ? `${end - at} bytes` : memory.toString("latin1", at, end));
  const events: SocketEvents = {
    onBytes: (_id, memory, at, end) => void noted.push(`read ${text(memory, at, end)}`),
    onMoved: () => undefined,
    onEnd: () => void noted.push("end"),
    onDrain: () => void noted.push("drain"),
    onClose: () => void noted.push("close"),
  };
  const layer = new MemorySockets(events, { poison: true });
  const peer: MemoryPeer = {
    onBytes: (memory, at, end) => {
      noted.push(`sent ${text(memory, at, end)}`);
      if (keeps) socket.kept(end - at);
    },
    onEnd: () => void noted.push("peer: end"),
    onRead: () => void noted.push("peer: read"),
    onClose: () => void noted.push("peer: close"),
  };
  const socket = layer.open(peer);
  return { layer, socket, noted, id: socket.id };
}

t.test("what the peer delivers is read at once, or after a pause in its order, and the end last", async (t) => {
  const { layer, socket, noted, id } = openPair();
  t.equal(socket.deliver(Buffer.from("early")), true);
  layer.resume(id);
  t.same(noted, [], "no event comes within a call");
  t.equal(socket.deliver(Buffer.from(", later")), true);
  await turn();
  t.equal(socket.deliverText("now"), true);
  layer.pause(id);
  t.equal(socket.deliverText("paused"), true);
  t.equal(socket.deliver(Buffer.alloc(65_536, "x")), false, "it should wait");
  socket.deliverEnd();
  await turn();
  t.same(noted.splice(0), ["read early", "read , later", "read now"]);
  layer.resume(id);
  await turn();
  t.same(noted, ["read paused", "read 65536 bytes", "peer: read", "end"]);
});

t.test("a pause within an event holds what follows it", async (t) => {
  const { layer, socket, noted, id } = openPair();
  socket.deliver(Buffer.from("one"));
  socket.deliver(Buffer.from("two"));
  const { events } = layer;
  const { onBytes } = events;
  events.onBytes = (...read) => {
    onBytes(...read);
    layer.pause(id);
  };
  layer.resume(id);
  await turn();
  t.same(noted, ["read one"]);
  layer.resume(id);
  await turn();
  t.same(noted, ["read one", "read two"]);
});

t.test("what the peer keeps is backlog, which stops the sender, and delays the end", async (t) => {
  const { layer, socket, noted, id } = openPair({ keeps: true });
  const at = layer.place();
  layer.memory.write("placed", at, "latin1");
  t.equal(layer.placed(id, 6), true);
  t.equal(layer.memory.toString("latin1", at, at + 6), "\xdd".repeat(6), "its memory is used again");
  t.equal(layer.send(id, Buffer.alloc(MAX_BACKLOG), 0, MAX_BACKLOG), false);
  t.equal(layer.backlog(id), MAX_BACKLOG + 6);
  socket.taken(6);
  t.same(noted.splice(0), ["sent placed", `sent ${MAX_BACKLOG} bytes`]);
  socket.taken(MAX_BACKLOG - 1);
  t.equal(layer.sendOwn(id, Buffer.from("more")), true);
  socket.taken(5);
  t.same(noted.splice(0), ["sent more", "drain"], "the drain that is owed comes although more was sent");
  t.equal(layer.sendOwn(id, Buffer.from("last")), true);
  layer.end(id);
  t.equal(layer.sendOwn(id, Buffer.from("too late")), true);
  t.same(noted.splice(0), ["sent last"]);
  socket.taken(4);
  t.same(noted, ["peer: end"]);
});

t.test("either end closes it: the peer knows at once, the owner in a later tick, and nothing follows", async (t) => {
  for (const closer of ["owner", "peer"] as const) {
    const { layer, socket, noted, id } = openPair({ keeps: true });
    layer.sendOwn(id, Buffer.from("kept"));
    socket.deliver(Buffer.from("unread"));
    if (closer === "owner") layer.reset(id);
    else socket.close();
    socket.close();
    layer.close(id);
    layer.resume(id);
    t.equal(layer.sendOwn(id, Buffer.from("too late")), true);
    t.equal(socket.deliver(Buffer.from("too late")), true);
    t.equal(layer.backlog(id), 0);
    t.equal(layer.isBroken(id), true);
    socket.taken(4);
    t.same(noted.splice(0), closer === "owner" ? ["sent kept", "peer: close"] : ["sent kept"]);
    await turn();
    t.same(noted, ["close"]);
    t.not(layer.open(socket.peer).id, id, "the number of a closed one does nothing");
  }
});
