import { createHash, randomBytes } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { systemClock, type Clock } from "../../../lib/clock.ts";
import { closeFrame, shortFrame } from "../../../gateway/websockets/frames.ts";
import { Draining } from "../../../gateway/connections/closing.ts";
import type { NetConnection } from "../../../gateway/connections/connection.ts";
import { spliceWebSocket, type PongFilter } from "../../../gateway/websockets/splice-websocket.ts";
import { openTestConnections } from "../../fixtures/connections.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually, eventuallyStill } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";

type Spliced = {
  /** The far ends, and what came to them. */
  client: Socket;
  container: Socket;
  received: { client: Buffer; container: Buffer };
  /** The near ends. */
  links: { client: NetConnection; container: NetConnection };
  bytes: () => number;
  drain(): void;
  /** How many wait for the drain. */
  listeners: () => number;
  over: () => boolean;
};

/** What happens before the two become one. */
type Before = (near: Spliced["links"] & { draining: Draining }) => void | Promise<void>;
type Options = { early?: Buffer[]; rest?: Buffer; pongFilter?: PongFilter; lingeringCloseMs?: number; clock?: Clock; before?: Before };

class CountedDraining extends Draining {
  readonly listeners = new Set<() => void>();

  override add(act: () => void): void {
    this.listeners.add(act);
    super.add(act);
  }

  override delete(act: () => void): void {
    this.listeners.delete(act);
    super.delete(act);
  }
}

/** Two connections that have become one WebSocket. */
async function splice(
  t: Test,
  { early = [], rest = Buffer.alloc(0), pongFilter, lingeringCloseMs = 1_000, clock = systemClock(), before }: Options = {},
): Promise<Spliced> {
  const links = openTestConnections();
  const near: NetConnection[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => void near.push(links.adopt(socket)));
  const { port } = await listen(t, server);
  const reach = async () => {
    const far = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    far.on("error", () => undefined);
    const before = near.length;
    await eventually("it is accepted", () => near.length > before);
    return { far, link: near[before] as NetConnection };
  };
  const [client, container] = [await reach(), await reach()];
  t.teardown(() => {
    for (const { far, link } of [client, container]) {
      far.destroy();
      link.destroy();
    }
  });
  const received = { client: Buffer.alloc(0), container: Buffer.alloc(0) };
  client.far.on("data", (chunk: Buffer) => (received.client = Buffer.concat([received.client, chunk])));
  container.far.on("data", (chunk: Buffer) => (received.container = Buffer.concat([received.container, chunk])));
  const draining = new CountedDraining();
  await before?.({ client: client.link, container: container.link, draining });
  let count = 0;
  let over = false;
  void spliceWebSocket({
    client: client.link,
    container: container.link,
    early,
    rest,
    pongFilter,
    lease: { countBytes: (n) => void (count += n) },
    record: { countBytes: () => undefined },
    draining,
    clock,
    limits: { lingeringCloseMs },
  }).then(() => (over = true));
  return {
    client: client.far,
    container: container.far,
    received,
    links: { client: client.link, container: container.link },
    bytes: () => count,
    drain: () => draining.begin(),
    listeners: () => draining.listeners.size,
    over: () => over,
  };
}

const RESTARTS = closeFrame(1012, "The gateway restarts");
const BROKE_OFF = closeFrame(1011, "The container closed the connection");
const HELLO = shortFrame(1, "hello");
const ends = (socket: Socket) => new Promise<void>((resolve) => void socket.once("end", resolve).once("close", () => resolve()));

t.test("what came early is passed on first, and all is counted", async (t) => {
  const { client, container, received: seen, bytes, over } = await splice(t, { early: [Buffer.from("a"), Buffer.from("b")], rest: HELLO });
  client.write("c");
  container.write(HELLO);
  await eventually("both", () => seen.container.toString() === "abc" && seen.client.equals(Buffer.concat([HELLO, HELLO])));
  t.equal(bytes(), 1 + 2 * HELLO.length);
  client.destroy();
  container.destroy();
  await eventually("it is over", over);
});

t.test("a gateway about to end waits for the end of a frame before it says so, and the client's answer reaches the container", async (t) => {
  const { client, container, received: seen, drain, over, bytes } = await splice(t);
  container.write(HELLO.subarray(0, 3));
  await eventually("it is within a frame", () => bytes() === 3);
  drain();
  client.write("still here");
  await eventually("nothing holds the client's bytes up", () => seen.container.toString() === "still here");
  t.equal(seen.client.length, 3, "and nothing is sent within a frame");
  const ended = ends(client);
  container.write(Buffer.concat([HELLO.subarray(3), HELLO]));
  await ended;
  t.same(seen.client, Buffer.concat([HELLO, HELLO, RESTARTS]));
  client.end("answer");
  await eventually("the answer", () => seen.container.toString() === "still hereanswer");
  container.end();
  await eventually("it is over", over);
});

t.test("between two frames it says so at once, with extensions agreed or not, and nothing follows", async (t) => {
  const { client, container, received: seen, drain, bytes } = await splice(t);
  const deflated = Buffer.concat([Buffer.from([0xc1, 2]), Buffer.from("xx")]);
  container.write(deflated);
  await eventually("it came", () => bytes() === deflated.length);
  const ended = ends(client);
  drain();
  await ended;
  container.write(HELLO);
  await eventually("it is read", () => bytes() === deflated.length + HELLO.length);
  t.same(seen.client, Buffer.concat([deflated, RESTARTS]));
});

t.test("after the container's close no other is sent, neither for an end nor for a restart", async (t) => {
  const theirs = closeFrame(4444, "that is all");
  const { client, container, received: seen, drain, over } = await splice(t);
  const ended = ends(client);
  container.write(theirs);
  await eventually("it came", () => seen.client.length > 0);
  drain();
  container.end();
  await ended;
  t.same(seen.client, theirs);
  client.end();
  await eventually("it is over", over);
});

t.test("where the container's bytes are no frames they pass, and none of ours among them", async (t) => {
  const { client, container, received: seen, drain, links } = await splice(t);
  container.write("HTTP is not a frame");
  await eventually("it came", () => seen.client.length > 0);
  drain();
  container.write(" and neither is this");
  await eventually("it came", () => seen.client.toString() === "HTTP is not a frame and neither is this");
  t.ok(links.client.writable, "the end is left to the deadline");
  const ended = ends(client);
  container.destroy();
  await ended;
  t.equal(seen.client.toString(), "HTTP is not a frame and neither is this");
});

t.test("the death of one side ends the other within 200 ms", async (t) => {
  for (const how of ["destroy", "resetAndDestroy"] as const) {
    const first = await splice(t);
    let began = performance.now();
    let ended = ends(first.client);
    first.container[how]();
    await ended;
    t.ok(performance.now() - began < 200, `the client, by ${how}`);
    t.same(first.received.client, BROKE_OFF);
    const second = await splice(t);
    ended = ends(second.container);
    began = performance.now();
    second.client[how]();
    await ended;
    t.ok(performance.now() - began < 200, `the container, by ${how}`);
    second.container.end();
    await eventually("it is over", second.over);
    t.equal(second.listeners(), 0, "and waits for nothing any more");
  }
});

t.test("a connection that has closed before the two become one ends the other, too", async (t) => {
  for (const side of ["client", "container"] as const) {
    const before: Before = async (near) => {
      near[side].destroy();
      await eventually("it is closed", () => near[side].closed);
    };
    const { over } = await splice(t, { before, lingeringCloseMs: 20 });
    await eventually(`it is over without the ${side}`, over);
  }
});

t.test("a WebSocket that begins in a gateway about to end gets the close to connect anew", async (t) => {
  const { received } = await splice(t, { before: ({ draining }) => draining.begin() });
  await eventually("the close", () => received.client.equals(RESTARTS));
});

t.test("who does not follow is cut off after a while", async (t) => {
  const { client, container, over } = await splice(t, { lingeringCloseMs: 50 });
  client.resume();
  container.pause();
  client.end();
  await eventually("it is over", over);
  t.ok(container.writable, "although the container never ended");
});

t.test("a client that has gone while its container takes nothing is noticed, and then the container's side ends", async (t) => {
  const clock = createStillClock();
  const { client, container, links, over } = await splice(t, { clock });
  container.pause();
  client.write(Buffer.alloc(20_000_000));
  await eventuallyStill("the client is stopped", () => (links.client.paused ? links.container.backlog : 0));
  await clock.advance(120_000);
  t.notOk(links.client.closed, "it is still there");
  client.resetAndDestroy();
  await eventually("both sides are over", async () => {
    await clock.advance(30_000);
    return over();
  });
});

t.test("a client that takes nothing holds a WebSocket that is to end for a while only, also within a frame", async (t) => {
  const clock = createStillClock();
  const { client, container, links, drain, over } = await splice(t, { clock });
  client.pause();
  const size = 20_000_000;
  const head = Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(size, 6);
  container.write(head);
  container.write(Buffer.alloc(size));
  await eventuallyStill("the container is stopped", () => (links.container.paused ? links.client.backlog : 0));
  await clock.advance(120_000);
  t.notOk(over(), "a slow client has all the time");
  drain();
  await eventually("both sides are over", async () => {
    await clock.advance(1_000);
    return over();
  });
});

t.test("what is left of an answer to our own ping does not reach the container", async (t) => {
  let left = 5;
  const pongFilter: PongFilter = (_, at, end) => {
    const here = Math.min(left, end - at);
    left -= here;
    return left === 0 ? at + here : -1;
  };
  const { client, received: seen, bytes } = await splice(t, { pongFilter });
  client.write("123");
  await eventually("the first part is read", () => bytes() === 3);
  client.write("45message");
  await eventually("the message", () => seen.container.toString() === "message");
  client.write(" and more");
  await eventually("more", () => seen.container.toString() === "message and more");
});

t.test("slow readers slow the writers down, and every byte arrives as it was sent", async (t) => {
  const all = await Promise.all(Array.from({ length: 4 }, () => splice(t)));
  // Of sizes around those at which bytes are copied, lent or sent in part.
  const sizes = [100, 16_000, 17_000, 60_000, 65_536, 3_000_000];
  const messages = Array.from({ length: 4 }, () => sizes.map((size) => randomBytes(size))).flat();
  const whole = Buffer.concat(messages);
  const ways = all.flatMap(({ client, container }) => [
    { from: client, to: container },
    { from: container, to: client },
  ]);
  const readers = ways.map(({ from, to }) => {
    to.removeAllListeners("data").pause();
    for (const message of messages) from.write(message);
    const digest = createHash("sha256");
    let size = 0;
    const begin = () =>
      to.on("data", (chunk: Buffer) => {
        digest.update(chunk);
        size += chunk.length;
        to.pause();
        setImmediate(() => to.resume());
      });
    return { begin, size: () => size, hash: () => digest.digest("hex") };
  });
  await eventually("all stand still", () => ways.every(({ from }) => from.writableLength > 0));
  for (const { links } of all) t.ok(links.client.backlog + links.container.backlog < 4_000_000, "little waits in between");
  for (const { begin } of readers) begin().resume();
  await eventually("all came", () => readers.every(({ size }) => size() === whole.length));
  const expected = createHash("sha256").update(whole).digest("hex");
  for (const reader of readers) t.equal(reader.hash(), expected);
});
