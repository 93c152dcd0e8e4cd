import { Socket } from "node:net";
import { openSecured, type ConnectOptions } from "./dial.ts";
import { NetConnection } from "./connection.ts";
import { Outbox } from "./outbox.ts";

/**
 * How connections are read and written. A buffer that the system reads into again and again costs less for small messages, and half for long
 * bodies, since it may be as large as one likes; Node's public interface has it for connections that are made, and not for those that are
 * accepted. `events`: by that interface alone, so clients are read by `data` events, each with a fresh buffer. `buffers`: clients too are read
 * into such buffers, and what is sent goes past the streams.
 */
export const READ_MODES = ["events", "buffers"] as const;
export type ReadMode = (typeof READ_MODES)[number];

export type ConnectionFactory = {
  /** A link over a connection that a server has just accepted and not read from. */
  accept(socket: Socket, under?: Socket): NetConnection;
  /** A link over a connection that is being made; the socket's own events tell how that goes. */
  connect(options: ConnectOptions): NetConnection;
};

/** What all links of a process read into while they expect little: each read is over before the next begins. */
const SMALL_BYTES = 65_536;
/** What a link reads into once a body turned out to be long. */
const LARGE_BYTES = 524_288;
/** Reads that fill the small buffer, before a body counts as long: new memory costs more than reading a short one in pieces. */
const LONG_AFTER = 4;
const MOST_SPARE = 16;

export function createConnectionFactory(reads: ReadMode): ConnectionFactory {
  const memory = { small: Buffer.allocUnsafeSlow(SMALL_BYTES), large: new LargeBuffers() };
  const into = (link: NetConnection, options: object) => ({ ...options, onread: intoBuffers(link, memory) });
  const outbox = new Outbox({ pastStreams: reads === "buffers" });
  // Node hands out what it decrypts by events only, and sends what it encrypts by its streams.
  const secured = new Outbox({ pastStreams: false });
  const overStream = (socket: Socket, under?: Socket) => new NetConnection(() => socket, { outbox: "encrypted" in socket ? secured : outbox, under });
  return {
    accept: (socket, under) => {
      const handle = reads === "buffers" ? takeHandle(socket) : undefined;
      if (handle === undefined) return overStream(socket, under);
      return new NetConnection((link) => new Socket(into(link, { handle, allowHalfOpen: true, manualStart: true })), { volatile: true, outbox });
    },
    connect: (options) =>
      options.tls === undefined
        ? new NetConnection((link) => new ReadToEndSocket(into(link, options)).connect(options), { volatile: true, outbox })
        : overStream(openSecured(options, options.tls)),
  };
}

function intoBuffers(link: NetConnection, { small, large }: Memory): { buffer: () => Uint8Array; callback: (bytes: number) => boolean } {
  let current = small;
  let next: Buffer | undefined = small;
  /** Reads in a row that filled the small one. */
  let full = 0;
  const lend = () => {
    link.lend = undefined;
    const lent = current;
    next = large.take();
    return () => large.giveBack(lent);
  };
  return {
    // Asked before the first read and after each; only a change is of interest.
    buffer: () => {
      if (next === undefined) return undefined as unknown as Uint8Array;
      current = next;
      next = undefined;
      return current;
    },
    callback: (bytes) => {
      link.lend = current === small ? undefined : lend;
      link.user.onBytes(current.subarray(0, bytes));
      // Bytes that were kept, and are sent on later, are not of this memory.
      link.lend = undefined;
      if (current === small) {
        full = bytes === SMALL_BYTES ? full + 1 : 0;
        if (full >= LONG_AFTER) next = large.take();
      } else if (bytes < LARGE_BYTES) {
        // The long body may be over, and an idle link owns no memory; where it is not, one full read leads back.
        large.giveBack(next ?? current);
        next = small;
        full = LONG_AFTER - 1;
      }
      return true;
    },
  };
}

/** What links read into. */
type Memory = { small: Buffer; large: LargeBuffers };

/** The large buffers of all links that nobody reads into at the moment. */
class LargeBuffers {
  readonly #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  }

  giveBack(buffer: Buffer): void {
    if (this.#spare.length < MOST_SPARE) this.#spare.push(buffer);
  }
}

/**
 * Takes the connection out of the socket that the server made, so that one can be made that reads into buffers: there is no public way to
 * ask a server for such. Undefined where it is not as expected, or the connection is one that Node decrypts.
 */
function takeHandle(socket: Socket): object | undefined {
  if ("encrypted" in socket) return undefined;
  const handle = Reflect.get(socket, "_handle") as { readStart?: unknown; useUserBuffer?: unknown } | null;
  if (typeof handle?.readStart !== "function" || typeof handle.useUserBuffer !== "function") return undefined;
  Reflect.set(socket, "_handle", null);
  // The server counts it as gone; whoever has the link keeps count of it.
  socket.destroy();
  return handle;
}

type Done = (error?: Error | null) => void;

/**
 * A connection to a container that may refuse the rest of a request, say why, and close. A stream gives up a connection that takes
 * nothing more, and what came over it unread; here only reading tells how it ended, and what was not taken counts as sent.
 */
export class ReadToEndSocket extends Socket {
  #done: Done | undefined;
  #heard: Done = () => undefined;

  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super["_write"](chunk, encoding, this.#hearing(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super["_writev"]?.(chunks, this.#hearing(done));
  }

  /** A stream hands in the same function each time. */
  #hearing(done: Done): Done {
    if (done === this.#done) return this.#heard;
    this.#done = done;
    this.#heard = (error) => done(isRefused(error) && !this.readableEnded ? null : error);
    return this.#heard;
  }
}

function isRefused(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
}
