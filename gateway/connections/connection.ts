import { writeSync } from "node:fs";
import type { Socket } from "node:net";

/** Receives the events of a connection. */
export type NetConnectionUser = {
  /** Bytes came. On a `volatile` connection they are valid only during this call: send or copy them. */
  onBytes(chunk: Buffer): void;
  /** The other end sends nothing more. */
  onEnd(): void;
  /** The queued bytes were sent: more may follow. */
  onDrain(): void;
  /** The last event; `error` if the connection broke. */
  onClose(error: Error | undefined): void;
};

/** Delays small messages until the end of the turn. */
export type Outbox = {
  /** Memory for delayed messages, which are then written past the stream; undefined: the connection keeps them for its stream. */
  readonly memory: Buffer | undefined;
  /** Reserves so many bytes of the memory; flushes everything first if they do not fit. */
  reserve(bytes: number): number;
  /** Flushes `writer` at the end of this turn. */
  add(writer: { flush(): void }): void;
};

type NetConnectionOptions = {
  /** The socket reads into shared memory, and its owner calls `onBytes`. */
  volatile?: boolean;
  /** Not one with memory for connections that Node encrypts. */
  outbox?: Outbox | undefined;
  /** The TCP connection under a TLS connection. */
  under?: Socket | undefined;
};

/** Up to this size, copying bytes costs less than lending their memory, and messages are delayed. */
const SMALL_BYTES = 16_384;

const NO_USER: NetConnectionUser = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/** A TCP or TLS connection with one user at a time. Each direction may end by itself. */
export class NetConnection {
  readonly socket: Socket;
  user: NetConnectionUser = NO_USER;
  /** The bytes of the current `onBytes` call are valid only during that call. */
  volatile: boolean;
  #error: Error | undefined;
  #owesDrain = false;
  #sentNow = 0;
  readonly #outbox: Outbox | undefined;
  readonly #under: Socket | undefined;
  /** Delayed messages in the outbox's memory: size and offset. */
  #delayed = 0;
  #delayedAt = 0;
  /** Delayed messages without such memory: usually one. */
  #first: string | Buffer | undefined;
  #firstIsOwn = false;
  readonly #others: (string | Buffer)[] = [];
  /** For each write of lent memory, in order: returns it. */
  readonly #lent: ((() => void) | undefined)[] = [];
  /**
   * Of a volatile connection, during `onBytes`: reserves the memory of these bytes until the returned function is called. Undefined if the memory is
   * shared, or already lent.
   */
  lend: (() => () => void) | undefined;

  /** Reads nothing before `resume`. */
  constructor(open: (connection: NetConnection) => Socket, { volatile = false, outbox, under }: NetConnectionOptions = {}) {
    this.volatile = volatile;
    const socket = open(this);
    this.socket = socket;
    this.#outbox = outbox;
    this.#under = under;
    if (!volatile) socket.on("data", (chunk: Buffer) => this.#onData(chunk)).pause();
    socket.on("end", () => this.user.onEnd());
    socket.on("drain", () => this.user.onDrain());
    socket.on("error", (error) => void (this.#error ??= error));
    socket.on("close", () => {
      const last = this.user;
      this.user = NO_USER;
      last.onClose(this.#error);
    });
  }

  get alive(): boolean {
    return !this.socket.destroyed;
  }

  /** False: nothing more can be sent. */
  get writable(): boolean {
    return this.socket.writable;
  }

  /** Bytes that were sent or queued. */
  get bytesSent(): number {
    this.flush();
    return this.socket.bytesWritten + this.#sentNow;
  }

  /** Bytes that the other end has not taken yet. */
  get backlog(): number {
    this.flush();
    return this.socket.writableLength;
  }

  resume(): void {
    this.socket.resume();
  }

  pause(): void {
    this.socket.pause();
  }

  get paused(): boolean {
    return this.socket.isPaused();
  }

  /** Sends bytes of `from`, or bytes that the caller gives away. False: they are queued, so the sender must pause until `onDrain`. */
  send(chunk: Buffer, from?: NetConnection): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    const volatile = from?.volatile === true;
    if (chunk.length <= SMALL_BYTES) {
      const memory = this.#outboxMemory();
      if (memory !== undefined) {
        chunk.copy(memory, this.#reserve(chunk.length));
        return true;
      }
      const message = volatile ? ownCopy(chunk) : chunk;
      return this.#delay(message, volatile) || socket.write(message);
    }
    this.flush();
    if (!volatile) return socket.write(chunk);
    const sent = this.#sendNow(chunk, 0, chunk.length);
    if (sent === chunk.length) return true;
    const rest = sent === 0 ? chunk : chunk.subarray(sent);
    const own = from.lend === undefined ? ownCopy(rest) : undefined;
    socket.write(own ?? rest, this.#onSent);
    // Unless the kernel took all of it, the memory must not be reused before the rest is sent.
    const queued = socket.writableLength > 0;
    const over = own === undefined ? queued && from.lend?.() : () => releaseMemory(own);
    if (!queued && over) over();
    this.#lent.push(queued && over ? over : undefined);
    this.#owesDrain ||= queued;
    return !queued;
  }

  /** The same for latin1 text, followed by a copy of `body`. */
  sendText(latin1: string, body?: Buffer): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    const length = body === undefined ? latin1.length : latin1.length + body.length;
    if (length <= SMALL_BYTES) {
      const memory = this.#outboxMemory();
      if (memory !== undefined) {
        const at = this.#reserve(length);
        memory.write(latin1, at, "latin1");
        body?.copy(memory, at + latin1.length);
        return true;
      }
    } else this.flush();
    let message: string | Buffer = latin1;
    if (body !== undefined) {
      message = ownMemory(length);
      message.write(latin1, 0, "latin1");
      body.copy(message, latin1.length);
    }
    return (length <= SMALL_BYTES && this.#delay(message, body !== undefined)) || socket.write(message, "latin1");
  }

  /** Sends delayed messages now. */
  flush(): void {
    const length = this.#delayed;
    if (this.#first !== undefined) return this.#flushMessages(this.#first);
    if (length === 0) return;
    this.#delayed = 0;
    const memory = this.#outbox?.memory;
    const { socket } = this;
    if (memory === undefined || !socket.writable) return;
    const end = this.#delayedAt + length;
    const sent = this.#sendNow(memory, this.#delayedAt, length);
    if (sent < length) socket.write(Buffer.from(memory.subarray(end - length + sent, end)));
  }

  /** Sends what is queued, and nothing more. */
  end(): void {
    this.flush();
    if (this.socket.writable) this.socket.end();
  }

  destroy(): void {
    this.flush();
    this.socket.destroy();
  }

  /** Ends so that the other side knows that data is missing. */
  reset(): void {
    this.flush();
    breakOff(this.socket, this.#under);
  }

  /** Releases the memory of a long chunk after it was sent. Left to the garbage collector, it took half the processor time of a long upload. */
  #onData(chunk: Buffer): void {
    if (chunk.length <= SMALL_BYTES) return this.user.onBytes(chunk);
    let lent = false;
    this.volatile = true;
    this.lend = () => {
      this.lend = undefined;
      lent = true;
      return () => releaseMemory(chunk);
    };
    this.user.onBytes(chunk);
    this.volatile = false;
    this.lend = undefined;
    if (!lent) releaseMemory(chunk);
  }

  /** The memory for a small message; undefined: the stream must take it. */
  #outboxMemory(): Buffer | undefined {
    return this.socket.writableLength === 0 ? this.#outbox?.memory : undefined;
  }

  /** Reserves memory, directly after what this connection has delayed. */
  #reserve(bytes: number): number {
    const outbox = this.#outbox as Outbox;
    const at = outbox.reserve(bytes);
    if (this.#delayed > 0 && at !== this.#delayedAt + this.#delayed) this.flush();
    if (this.#delayed === 0) {
      this.#delayedAt = at;
      outbox.add(this);
    }
    this.#delayed += bytes;
    return at;
  }

  /** Delays a message if the outbox has no memory. `own`: its memory is released after it was sent. False: write it to the stream now. */
  #delay(message: string | Buffer, own: boolean): boolean {
    if (this.#outbox === undefined) return false;
    if (this.#outbox.memory !== undefined) {
      this.flush();
      return false;
    }
    if (this.#first !== undefined) return this.#others.push(message) > 0;
    if (this.socket.writableLength > 0) return false;
    this.#first = message;
    this.#firstIsOwn = own;
    this.#outbox.add(this);
    return true;
  }

  #flushMessages(first: string | Buffer): void {
    const { socket } = this;
    this.#first = undefined;
    if (!socket.writable) return void (this.#others.length = 0);
    if (this.#others.length === 0) {
      socket.write(first, "latin1");
      if (this.#firstIsOwn && typeof first !== "string" && socket.writableLength === 0) releaseMemory(first);
      return;
    }
    socket.cork();
    socket.write(first, "latin1");
    for (const other of this.#others) socket.write(other, "latin1");
    this.#others.length = 0;
    socket.uncork();
  }

  /** Returns how many bytes the kernel took. */
  #sendNow(bytes: Buffer, from: number, length: number): number {
    if (this.#outbox?.memory === undefined) return 0;
    const sent = writeNow(this.socket, bytes, from, length);
    this.#sentNow += sent;
    return sent;
  }

  readonly #onSent = () => {
    this.#lent.shift()?.();
    if (!this.#owesDrain || this.socket.writableLength > 0) return;
    this.#owesDrain = false;
    this.user.onDrain();
  };
}

/** Messages up to this size share memory of Node's pool. */
const POOLED_BYTES = 1_024;

function ownMemory(bytes: number): Buffer {
  return bytes > POOLED_BYTES ? Buffer.allocUnsafeSlow(bytes) : Buffer.allocUnsafe(bytes);
}

function ownCopy(bytes: Buffer): Buffer {
  const copy = ownMemory(bytes.length);
  bytes.copy(copy);
  return copy;
}

/** Releases a chunk's memory if no other buffer shares it. */
function releaseMemory({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/**
 * Ends a connection so that the other side knows that data is missing. Many programs treat the end of TCP as the end of TLS, and that as the end of a
 * body. Node cannot reset a TLS socket, only the TCP socket under it.
 */
export function breakOff(socket: Socket, under?: Socket): void {
  if (under !== undefined || !("encrypted" in socket)) (under ?? socket).resetAndDestroy();
  socket.destroy();
}

/** The other end has closed, as far as the kernel knows. For connections that are not read. */
export function isBroken(socket: Socket): boolean {
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined || socket.connecting) return false;
  try {
    writeSync(descriptor, NO_BYTES);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EAGAIN";
  }
}

const NO_BYTES = Buffer.alloc(0);

/**
 * Writes past the stream, and returns how many bytes the kernel took. A stream may queue bytes, so those in reused memory would have to be copied, which
 * for messages of 16 KiB costs more than everything else. Returns 0 if the descriptor is not available, or the stream has queued bytes; the stream then
 * reports any error.
 */
function writeNow(socket: Socket, bytes: Buffer, from: number, length: number): number {
  if (socket.writableLength > 0 || socket.connecting) return 0;
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) return 0;
  try {
    return writeSync(descriptor, bytes, from, length);
  } catch {
    return 0;
  }
}

/** There is no public way to it. Never to be kept: after a close, the next connection may get the same number. */
function descriptorOf(socket: Socket): number | undefined {
  const descriptor = (socket as unknown as { _handle: { fd?: number } | null })["_handle"]?.fd;
  return descriptor === undefined || descriptor < 0 ? undefined : descriptor;
}
