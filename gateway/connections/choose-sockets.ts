import { type AddressInfo, createServer, Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Epoll, EPOLLIN } from "./epoll.ts";
import { type FfiCalls, FfiSockets } from "./ffi-sockets.ts";
import { IoUring } from "./io-uring.ts";
import { EAGAIN, EBADF, type Libc, loadLibc } from "./libc.ts";
import { addressOf } from "./unsent-bytes.ts";
import { NO_SOCKET, type SocketEvents, type SocketId, type OpenSocketLayer } from "./socket-layer.ts";
import type { Log } from "../../lib/log.ts";

/** `auto` is `ffi` where it works. */
export const SOCKET_SETTINGS = ["auto", "ffi", "node"] as const;
export type SocketSetting = (typeof SOCKET_SETTINGS)[number];

/** How a process reads and writes plain sockets. TLS is always Node's. */
export type SocketChoice = {
  name: "ffi" | "node";
  /** Undefined: as TLS. */
  plain: OpenSocketLayer | undefined;
};

const NODE: SocketChoice = { name: "node", plain: undefined };

/** Tests `ffi` before it is used. Where it does not work, it logs why, and Node's sockets are used: a warning only where `ffi` is requested. */
export async function chooseSockets(setting: SocketSetting, { clock, log }: { clock: Clock; log: Log }): Promise<SocketChoice> {
  if (setting === "node") return NODE;
  const tested = await testFfi(clock);
  if ("problem" in tested) {
    if (setting === "ffi") log.warn({ reason: tested.problem }, "BERTH_SOCKETS=ffi does not work here: Node's sockets are used");
    else log.info({ reason: tested.problem }, "node:ffi does not work here: Node's sockets are used");
    return NODE;
  }
  return { name: "ffi", plain: (events, options) => new FfiSockets(tested, events, options) };
}

/** Whether `ffi` works in this process, or why not. Without a ring: why io_uring does not. */
export async function testFfi(clock: Clock): Promise<(FfiCalls & { ringProblem?: string }) | { problem: string }> {
  try {
    const libc = loadLibc();
    await testFfiSockets(libc, clock);
    return { libc, ...openRing(libc) };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

/** io_uring, if the kernel has it, allows it, and does what is expected. */
export function openRing(libc: Libc): { ring: IoUring } | { ring: undefined; ringProblem: string } {
  try {
    const ring = new IoUring(libc);
    try {
      testRing(libc, ring);
    } catch (error) {
      ring.close();
      throw error;
    }
    return { ring };
  } catch (error) {
    return { ring: undefined, ringProblem: (error as Error).message };
  }
}

/** On a busy machine. It usually takes 5 ms. */
const TEST_MS = 5_000;
/** `uv_poll_t` has 160 bytes today. */
const MAX_HANDLE_BYTES = 1_024;
const IDS = [0x1234567, 0x7654321] as const;
/** Longer than one read, so that a part of it waits in the layer. */
const ECHO = Buffer.alloc(1_500_000, "an echo of several reads, ");

/** Checks what ffiSockets assumes about this machine: structures, error numbers, the event loop, and an echo over loopback. Throws what differs. */
export async function testFfiSockets(libc: Libc, clock: Clock): Promise<void> {
  const overdue = () => new Error(`the self-test did not end within ${TEST_MS} ms`);
  testErrno(libc);
  await withTimeout({ clock, ms: TEST_MS, overdue }, (signal) => testEvents(libc, signal));
  await withTimeout({ clock, ms: TEST_MS, overdue }, (signal) => testEcho(libc, signal));
}

function testErrno(libc: Libc): void {
  const result = libc.close(-1);
  if (result !== -1 || libc.errno() !== EBADF) throw new Error(`close(-1) returned ${result} with errno ${libc.errno()}, not -1 with ${EBADF}`);
  const bytes = Number(libc.uv_handle_size(8));
  if (bytes < 64 || bytes > MAX_HANDLE_BYTES || bytes % 8 !== 0) throw new Error(`uv_handle_size reports ${bytes} bytes`);
}

/** Two events show the size of one, and that the event loop reports them. */
async function testEvents(libc: Libc, signal: AbortSignal): Promise<void> {
  const descriptors: number[] = [];
  const epoll = new Epoll(libc);
  try {
    for (const id of IDS) {
      const descriptor = libc.eventfd(1, 0);
      if (descriptor < 0) throw libc.failure("eventfd");
      descriptors.push(descriptor);
      if (!epoll.add(descriptor, id)) throw libc.failure("epoll_ctl");
    }
    let count = epoll.take();
    while (count === 0 && !signal.aborted) {
      await new Promise((resolve) => setImmediate(resolve));
      count = epoll.take();
    }
    const events = Array.from({ length: count }, (_, index) => ({ id: epoll.idOf(index), bits: epoll.bitsOf(index) }));
    const expected = IDS.every((id) => events.some((event) => event.id === id && (event.bits & EPOLLIN) !== 0));
    if (count !== IDS.length || !expected) throw new Error(`epoll_event differs: ${JSON.stringify(events)}`);
  } finally {
    epoll.close();
    for (const descriptor of descriptors) libc.close(descriptor);
  }
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const HELLO = Buffer.from("hello, ");
const RING = Buffer.from("ring");

/** Between the two ends of a socket: a receive without bytes, a send of one range and one of two, a send to no socket, and a receive of what came. */
function testRing(libc: Libc, ring: IoUring): void {
  const ends = new Int32Array(2);
  if (libc.socketpair(AF_UNIX, SOCK_STREAM, 0, libc.addressOf(ends)) < 0) throw libc.failure("socketpair");
  const [from = -1, to = -1] = ends;
  const memory = Buffer.alloc(64);
  const send = (fd: number, ...ranges: Buffer[]) => {
    for (const [index, range] of ranges.entries()) ring.vectors.set(ring.nextVector + index, addressOf(libc, range), 0, range.length);
    return ring.send(fd, ranges.length);
  };
  try {
    ring.receive(to, addressOf(libc, memory), 0, memory.length);
    send(from, HELLO);
    send(from, HELLO, RING);
    send(-1, RING);
    ring.submit();
    ring.receive(to, addressOf(libc, memory), 0, memory.length);
    const results = [0, 1, 2, 3].map((place) => ring.resultOf(place));
    ring.submit();
    results.push(ring.resultOf(0));
    const expected = [-EAGAIN, HELLO.length, HELLO.length + RING.length, -EBADF, 2 * HELLO.length + RING.length];
    const text = memory.toString("latin1", 0, 18);
    if (results.join() !== expected.join() || text !== "hello, hello, ring")
      throw new Error(`io_uring returned ${results.join()}, not ${expected.join()}`);
  } finally {
    libc.close(from);
    libc.close(to);
  }
}

/** A client of Node's sends bytes and ends; ffiSockets returns both. */
async function testEcho(libc: Libc, signal: AbortSignal): Promise<void> {
  const received: Buffer[] = [];
  let adopted: SocketId = NO_SOCKET;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const client = new Socket();
  let sockets: FfiSockets | undefined = undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const events: SocketEvents = {
        onBytes: (id, memory, at, end) => {
          if (!layer.send(id, memory, at, end)) layer.pause(id);
        },
        onMoved: () => undefined,
        onDrain: (id) => layer.resume(id),
        onEnd: (id) => layer.end(id),
        onClose: (_id, error) => (error === undefined ? undefined : reject(error)),
      };
      const layer = new FfiSockets({ libc, ring: undefined }, events, { poison: false });
      sockets = layer;
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      server.on("connection", (socket) => {
        adopted = layer.adopt(socket, { readToEnd: false });
        if (adopted === NO_SOCKET) reject(libc.failure("adopt"));
        layer.resume(adopted);
      });
      server.on("error", reject).listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo;
        client
          .on("data", (chunk: Buffer) => received.push(chunk))
          .on("error", reject)
          .on("end", resolve);
        client.connect(port, "127.0.0.1").end(ECHO);
      });
    });
    if (!Buffer.concat(received).equals(ECHO)) throw new Error("the echo differs");
  } finally {
    (sockets as FfiSockets | undefined)?.close(adopted);
    client.destroy();
    server.close();
  }
}
