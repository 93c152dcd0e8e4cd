import { connect, type Socket } from "node:net";
import { connect as connectSecurely } from "node:tls";
import { pause } from "../fixtures/clock.ts";

/** One side's view of one connection, down to its last byte. */
export type Wire = {
  socket: Socket;
  /** The first MiB of what came, a character for a byte. */
  came(): string;
  /** How many bytes came in all. */
  count(): number;
  send(bytes: string | Buffer): void;
  /** How the other side stopped sending; `open` while it may still send. */
  state(): "open" | "ended" | "reset";
  /** Breaks the connection. */
  abort(): void;
  /** When it stopped, on the scale of `performance.now()`. */
  overAt(): number | undefined;
};

const KEPT = 1_048_576;

/** `under`: the connection that carries this one, where it is another. */
export function openWire(socket: Socket, under = socket): Wire {
  let came = "";
  let count = 0;
  let state: "open" | "ended" | "reset" = "open";
  let overAt: number | undefined;
  const over = (how: "ended" | "reset") => {
    overAt ??= performance.now();
    if (state === "open" || how === "reset") state = how;
  };
  socket.on("data", (chunk: Buffer) => {
    count += chunk.length;
    if (came.length < KEPT) came += chunk.toString("latin1");
  });
  socket.once("end", () => over("ended"));
  socket.on("error", () => over("reset"));
  socket.once("close", () => state === "open" && over("ended"));
  return {
    socket,
    came: () => came,
    count: () => count,
    send: (bytes) => void (socket.writable && socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes)),
    state: () => state,
    abort: () => void under.resetAndDestroy(),
    overAt: () => overAt,
  };
}

/** A client's connection; half-open, so that it ends only when the probe says so. */
export async function dial({ port, secured = false }: { port: number; secured?: boolean }): Promise<Wire> {
  const under = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  await new Promise((resolve, reject) => void under.once("connect", resolve).once("error", reject));
  if (!secured) return openWire(under);
  const socket = connectSecurely({ socket: under, rejectUnauthorized: false });
  await new Promise((resolve, reject) => void socket.once("secureConnect", resolve).once("error", reject));
  return openWire(socket, under);
}

/** Whether a condition came true in time. */
export async function within(ms: number, condition: () => boolean): Promise<boolean> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) return false;
    await pause(2);
  }
  return true;
}

export type Pouring = {
  /** How many bytes the system has taken off our hands. */
  taken(): number;
  done(): boolean;
};

/** Sends `total` bytes, a multiple of the piece's, as fast as they are taken. */
export function pour(socket: Socket, total: number, piece: Buffer = Buffer.alloc(65_536, "x")): Pouring {
  let left = total;
  let queued = 0;
  const more = () => {
    while (left > 0 && socket.writable) {
      const now = Math.min(left, piece.length);
      left -= now;
      queued += now;
      if (!socket.write(piece.subarray(0, now))) return;
    }
  };
  socket.on("drain", more);
  more();
  return { taken: () => queued - socket.writableLength, done: () => left === 0 && socket.writableLength === 0 };
}

/** Waits until a number has stood still for 250 ms, at most `ms`. */
export async function settled(ms: number, number: () => number): Promise<number> {
  let last = number();
  let since = performance.now();
  await within(ms, () => {
    const now = number();
    if (now !== last) [last, since] = [now, performance.now()];
    return performance.now() - since > 250;
  });
  return last;
}
