import { Socket } from "node:net";
import { Connection, type Lender } from "./connection.ts";
import { TurnOutbox } from "./outbox.ts";

/**
 * How connections are read and written. `events`: clients are read by `data` events, each with a new buffer. `buffers`: the kernel reads into reused
 * buffers, which costs less for small messages and half for long bodies, and messages are written past the streams. Node's public interface offers such
 * buffers only for outgoing connections, which have them in both modes.
 */
export const READ_MODES = ["events", "buffers"] as const;
export type ReadMode = (typeof READ_MODES)[number];

export type ConnectionFactory = {
  /**
   * Takes over an established socket that nobody has read, and that is paused. `readToEnd`: a refused write does not end it. `under`: the TCP connection
   * under a TLS connection.
   */
  adopt(socket: Socket, options?: { readToEnd?: boolean; under?: Socket | undefined }): Connection;
  /** The same for a socket that others have read. */
  adoptStream(socket: Socket): Connection;
};

export function createConnectionFactory(): ConnectionFactory {
  const lender: Lender = { memory: undefined, lend: () => () => undefined };
  const buffers = { small: Buffer.allocUnsafeSlow(SMALL_BYTES), large: new LargeBuffers(), lender };
  const outbox = new TurnOutbox();
  return {
    adopt: (socket, { readToEnd = false, under } = {}) => {
      const remoteAddress = socket.remoteAddress ?? "";
      const handle = takeHandle(socket);
      if (handle === undefined) {
        const open = (connection: Connection) => readStream(socket, connection, lender);
        return new Connection(open, { outbox, lender, remoteAddress, pastStream: false, under });
      }
      const Kind = readToEnd ? ReadToEndSocket : Socket;
      const options = { handle, allowHalfOpen: true, manualStart: true };
      const open = (connection: Connection) => new Kind({ ...options, onread: readInto(connection, buffers) } as object);
      return new Connection(open, { outbox, lender, remoteAddress, pastStream: true });
    },
    adoptStream: (socket) =>
      new Connection((connection) => readStream(socket, connection, lender), {
        outbox,
        lender,
        remoteAddress: socket.remoteAddress ?? "",
        pastStream: false,
      }),
  };
}

/** Bytes that Node has decrypted come by events only. */
function readStream(socket: Socket, connection: Connection, lender: Lender): Socket {
  return socket
    .on("data", (chunk: Buffer) => {
      let lent = false;
      lender.memory = chunk;
      lender.lend = () => {
        lent = true;
        return () => releaseMemory(chunk);
      };
      connection.user.onBytes(chunk, 0, chunk.length);
      lender.memory = undefined;
      // Left to the garbage collector, long chunks took half the processor time of a long upload.
      if (!lent && chunk.length > SMALL_CHUNK) releaseMemory(chunk);
    })
    .pause();
}

const SMALL_CHUNK = 16_384;

/** Releases a chunk's memory if no other buffer shares it. */
function releaseMemory({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** The buffer that all connections share: each read is processed before the next begins. */
const SMALL_BYTES = 65_536;
/** A buffer of one connection with a long body. */
const LARGE_BYTES = 524_288;
/** Reads in a row that fill the small buffer, before a body counts as long: new memory costs more than reading a short body in pieces. */
const LONG_AFTER = 4;
const MAX_SPARE = 16;

type ReadBuffers = { small: Buffer; large: LargeBuffers; lender: Lender };

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

function readInto(connection: Connection, { small, large, lender }: ReadBuffers): { buffer: () => Uint8Array; callback: (bytes: number) => boolean } {
  let current = small;
  let next: Buffer | undefined = small;
  /** Reads in a row that filled the small buffer. */
  let full = 0;
  const lend = () => {
    lender.memory = undefined;
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
      if (current !== small) {
        lender.memory = current;
        lender.lend = lend;
      }
      connection.user.onBytes(current, 0, bytes);
      lender.memory = undefined;
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
