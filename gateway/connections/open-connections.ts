import { Socket } from "node:net";
import { NetConnection, type Outbox } from "./connection.ts";
import { type ConnectOptions, openSecured } from "./dial.ts";

/**
 * How connections are read and written. `events`: clients are read by `data` events, each with a new buffer. `buffers`: the kernel reads into reused
 * buffers, which costs less for small messages and half for long bodies, and messages are written past the streams. Node's public interface offers such
 * buffers only for outgoing connections, which have them in both modes.
 */
export const READ_MODES = ["events", "buffers"] as const;
export type ReadMode = (typeof READ_MODES)[number];

export type ConnectionFactory = {
  /** Wraps a connection that a server has just accepted and not read. */
  accept(socket: Socket, under?: Socket): NetConnection;
  /** Begins a connection; the socket's events report the result. */
  connect(options: ConnectOptions): NetConnection;
};

export function createConnectionFactory(reads: ReadMode): ConnectionFactory {
  const buffers = { small: Buffer.allocUnsafeSlow(SMALL_BYTES), large: new LargeBuffers() };
  const readingInto = (connection: NetConnection, options: object) => ({ ...options, onread: readInto(connection, buffers) });
  const outbox = new TurnOutbox({ pastStreams: reads === "buffers" });
  // Node delivers decrypted bytes by events only, and encrypts in its streams.
  const tlsOutbox = new TurnOutbox({ pastStreams: false });
  const overStream = (socket: Socket, under?: Socket) =>
    new NetConnection(() => socket, { outbox: "encrypted" in socket ? tlsOutbox : outbox, under });
  return {
    accept: (socket, under) => {
      const handle = reads === "buffers" ? takeHandle(socket) : undefined;
      if (handle === undefined) return overStream(socket, under);
      const options = { handle, allowHalfOpen: true, manualStart: true };
      return new NetConnection((connection) => new Socket(readingInto(connection, options)), { volatile: true, outbox });
    },
    connect: (options) =>
      options.tls === undefined
        ? new NetConnection((connection) => new ReadToEndSocket(readingInto(connection, options)).connect(options), { volatile: true, outbox })
        : overStream(openSecured(options, options.tls)),
  };
}

/** The buffer that all connections share: each read is processed before the next begins. */
const SMALL_BYTES = 65_536;
/** A buffer of one connection with a long body. */
const LARGE_BYTES = 524_288;
/** Reads in a row that fill the small buffer, before a body counts as long: new memory costs more than reading a short body in pieces. */
const LONG_AFTER = 4;
const MAX_SPARE = 16;

type ReadBuffers = { small: Buffer; large: LargeBuffers };

/** Large buffers that no connection reads into. */
class LargeBuffers {
  readonly #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  }

  giveBack(buffer: Buffer): void {
    if (this.#spare.length < MAX_SPARE) this.#spare.push(buffer);
  }
}

function readInto(connection: NetConnection, { small, large }: ReadBuffers): { buffer: () => Uint8Array; callback: (bytes: number) => boolean } {
  let current = small;
  let next: Buffer | undefined = small;
  /** Reads in a row that filled the small buffer. */
  let full = 0;
  const lend = () => {
    connection.lend = undefined;
    const lent = current;
    next = large.take();
    return () => large.giveBack(lent);
  };
  return {
    // Called before the first read and after each; undefined keeps the current buffer.
    buffer: () => {
      if (next === undefined) return undefined as unknown as Uint8Array;
      current = next;
      next = undefined;
      return current;
    },
    callback: (bytes) => {
      connection.lend = current === small ? undefined : lend;
      connection.user.onBytes(current.subarray(0, bytes));
      connection.lend = undefined;
      if (current === small) {
        full = bytes === SMALL_BYTES ? full + 1 : 0;
        if (full >= LONG_AFTER) next = large.take();
      } else if (bytes < LARGE_BYTES) {
        // The body may be over, and an idle connection keeps no memory. If it is not, one full read returns to a large buffer.
        large.giveBack(next ?? current);
        next = small;
        full = LONG_AFTER - 1;
      }
      return true;
    },
  };
}

/** Beyond it, delayed messages are sent at once. */
const OUTBOX_BYTES = 262_144;

/**
 * Sends the messages of one turn of the event loop together at its end: first all received bytes are processed, then everything is sent. A program on
 * another core that the first message wakes is still awake for the rest: with 64 busy connections this saves a tenth of a request. A single message is
 * not delayed, because the turn ends with it.
 */
class TurnOutbox implements Outbox {
  readonly memory: Buffer | undefined;
  readonly #writers: { flush(): void }[] = [];
  #used = 0;

  constructor({ pastStreams }: { pastStreams: boolean }) {
    this.memory = pastStreams ? Buffer.allocUnsafeSlow(OUTBOX_BYTES) : undefined;
  }

  add(writer: { flush(): void }): void {
    if (this.#writers.push(writer) === 1) setImmediate(this.#endTurn);
  }

  reserve(bytes: number): number {
    if (this.#used + bytes > OUTBOX_BYTES) this.#flushAll();
    const at = this.#used;
    this.#used += bytes;
    return at;
  }

  readonly #endTurn = (): void => {
    this.#flushAll();
    this.#writers.length = 0;
  };

  #flushAll(): void {
    for (const writer of this.#writers) writer.flush();
    this.#used = 0;
  }
}

/**
 * Takes the connection out of the server's socket, so that another socket can read into buffers: a server has no public option for that. Undefined for a
 * TLS connection, or an unexpected handle.
 */
function takeHandle(socket: Socket): object | undefined {
  if ("encrypted" in socket) return undefined;
  const handle = Reflect.get(socket, "_handle") as { readStart?: unknown; useUserBuffer?: unknown } | null;
  if (typeof handle?.readStart !== "function" || typeof handle.useUserBuffer !== "function") return undefined;
  Reflect.set(socket, "_handle", null);
  // The server stops counting it; the engine counts the new connection.
  socket.destroy();
  return handle;
}

type Done = (error?: Error | null) => void;

/**
 * A connection to a container that may refuse the rest of a request, respond, and close. A stream that cannot write is destroyed with its unread bytes.
 * Here unsent bytes count as sent, and only reading detects the end.
 */
class ReadToEndSocket extends Socket {
  #done: Done | undefined;
  #wrapped: Done = () => undefined;

  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super["_write"](chunk, encoding, this.#ignoringRefusal(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super["_writev"]?.(chunks, this.#ignoringRefusal(done));
  }

  /** A stream passes the same `done` each time. */
  #ignoringRefusal(done: Done): Done {
    if (done === this.#done) return this.#wrapped;
    this.#done = done;
    this.#wrapped = (error) => done(isRefused(error) && !this.readableEnded ? null : error);
    return this.#wrapped;
  }
}

function isRefused(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
}
