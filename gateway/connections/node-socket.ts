import { writeSync } from "node:fs";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { descriptorOf, handleOf, MAX_BACKLOG, type SocketEvents, type SocketId, POISON } from "./socket-layer.ts";
import type { ReadBuffers } from "./read-buffers.ts";

/** Up to this size, bytes are copied and sent at the end of the turn. */
const SMALL_BYTES = 16_384;
/** The same if bytes of this turn precede them: one write for a head and a body wakes the other end once. */
const APPENDED_BYTES = 65_536;

export type NodeSocketDeps = { events: SocketEvents; outbox: TurnOutbox; buffers: ReadBuffers };

type NodeSocketOptions = {
  /** Writes past the stream, to the socket's descriptor, if it has one. */
  pastStream: boolean;
  under: Socket | undefined;
};

/** One socket of Node behind a number. */
export class NodeSocket {
  readonly id: SocketId;
  readonly #stream: Duplex;
  readonly #deps: NodeSocketDeps;
  /** Bytes are written past the stream, to it. Valid until the stream is destroyed: then another connection may get the same number. */
  readonly #descriptor: number | undefined;
  /** The same as the stream's state, which is in memory that the processor has to wait for. */
  #isDestroyed = false;
  #isEnded = false;
  /** Writes that the stream has not reported as done. */
  #writes = 0;
  /** The memory of a write is free after its callback. A stream in memory may keep it for longer. */
  readonly #mayLend: boolean;
  readonly #under: Socket | undefined;
  #owesDrain = false;
  /** Delayed bytes in the outbox: their number and offset. */
  #delayed = 0;
  #delayedAt = 0;
  #reserved = 0;

  constructor(id: SocketId, open: (socket: NodeSocket) => Duplex, deps: NodeSocketDeps, { pastStream, under }: NodeSocketOptions) {
    this.id = id;
    this.#stream = open(this);
    this.#deps = deps;
    this.#descriptor = pastStream ? descriptorOf(this.#stream) : undefined;
    this.#mayLend = pastStream || this.#stream instanceof TLSSocket;
    this.#under = under;
  }

  /** `onClose`: the number is free. */
  listen(onClose: (socket: NodeSocket) => void): void {
    const { events } = this.#deps;
    let broken: Error | undefined;
    this.#stream.on("end", () => events.onEnd(this.id));
    this.#stream.on("error", (error) => void (broken ??= error));
    const over = () => {
      onClose(this);
      events.onClose(this.id, broken);
    };
    if (this.#stream.closed) process.nextTick(over);
    else this.#stream.on("close", over);
  }

  /** The stream is about to close its descriptor. */
  readonly onDestroy = (): void => {
    this.#isDestroyed = true;
  };

  /** Bytes came. */
  readonly deliver = (memory: Buffer, end: number): void => {
    this.#deps.events.onBytes(this.id, memory, 0, end);
  };

  resume(): void {
    this.#stream.resume();
  }

  pause(): void {
    this.#stream.pause();
  }

  send(memory: Buffer, at: number, end: number): boolean {
    const length = end - at;
    if (length <= (this.#delayed > 0 ? APPENDED_BYTES : SMALL_BYTES)) {
      memory.copy(this.#deps.outbox.memory, this.place(length), at, end);
      return this.placed(length);
    }
    if (!this.#isWritable) return true;
    this.flush();
    const from = at + this.#sendNow(memory, at, length);
    if (from === end) return true;
    let over: (() => void) | undefined;
    const lends = this.#mayLend && this.#deps.buffers.lends(memory);
    const rest = lends ? memory.subarray(from, end) : ownCopy(memory, from, end);
    this.#writes++;
    this.#stream.write(rest, () => {
      over?.();
      this.#onWritten();
    });
    // Unless the kernel took all of it, the memory must not be used again before the rest is sent.
    if (lends && this.#stream.writableLength > 0) over = this.#deps.buffers.lend();
    return this.#mayGoOn();
  }

  sendOwn(bytes: Buffer): boolean {
    const { length } = bytes;
    if (length <= SMALL_BYTES) return this.send(bytes, 0, length);
    if (!this.#isWritable) return true;
    this.flush();
    const sent = this.#sendNow(bytes, 0, length);
    if (sent < length) this.#write(bytes.subarray(sent));
    return this.#mayGoOn();
  }

  place(bytes: number): number {
    const { outbox } = this.#deps;
    if (this.#delayed > 0 && !outbox.fits(this.#delayedAt + this.#delayed, bytes)) this.flush();
    const at = outbox.reserve(bytes);
    this.#reserved = bytes;
    if (this.#delayed === 0) this.#delayedAt = at;
    return at;
  }

  placed(bytes: number): boolean {
    const { outbox } = this.#deps;
    outbox.release(this.#reserved - bytes);
    if (bytes === 0) return true;
    if (this.#delayed === 0) outbox.add(this);
    this.#delayed += bytes;
    return this.#mayGoOn();
  }

  /** Sends delayed bytes now. */
  flush(): void {
    const length = this.#delayed;
    if (length === 0) return;
    this.#delayed = 0;
    if (!this.#isWritable) return;
    const { memory } = this.#deps.outbox;
    const at = this.#delayedAt;
    const sent = this.#sendNow(memory, at, length);
    if (sent === length) return;
    this.#write(ownCopy(memory, at + sent, at + length));
    this.#mayGoOn();
  }

  get backlog(): number {
    this.flush();
    return this.#queued;
  }

  isBroken(): boolean {
    return isBrokenStream(this.#under ?? this.#stream);
  }

  end(): void {
    this.flush();
    if (!this.#isWritable) return;
    this.#isEnded = true;
    this.#stream.end();
  }

  close(): void {
    this.flush();
    this.#stream.destroy();
  }

  reset(): void {
    this.flush();
    breakOff(this.#stream, this.#under);
  }

  #mayGoOn(): boolean {
    if (this.#queued < MAX_BACKLOG) return true;
    this.#owesDrain = true;
    return false;
  }

  get #isWritable(): boolean {
    return this.#descriptor === undefined ? this.#stream.writable : !this.#isDestroyed && !this.#isEnded;
  }

  /** Bytes in the stream. */
  get #queued(): number {
    return this.#writes === 0 ? 0 : this.#stream.writableLength;
  }

  #write(bytes: Buffer): void {
    this.#writes++;
    this.#stream.write(bytes, this.#onWritten);
  }

  readonly #onWritten = (): void => {
    this.#writes--;
    if (!this.#owesDrain || this.#stream.writableLength > 0 || this.#stream.destroyed) return;
    this.#owesDrain = false;
    this.#deps.events.onDrain(this.id);
  };

  /**
   * Writes past the stream, and returns how many bytes the kernel took. A stream may queue bytes, so those in reused memory would have to be copied, which
   * for messages of 16 KiB costs more than everything else. After a failure the stream gets the bytes, and reports the error.
   */
  #sendNow(bytes: Buffer, at: number, length: number): number {
    const descriptor = this.#descriptor;
    if (descriptor === undefined || this.#isDestroyed || this.#queued > 0) return 0;
    try {
      return writeSync(descriptor, bytes, at, length);
    } catch {
      return 0;
    }
  }
}

const NO_BYTES = Buffer.alloc(0);

/** The other end is gone, as far as the kernel knows: a write is refused. Streams in memory have no kernel's connection, and never are. */
export function isBrokenStream(stream: Duplex): boolean {
  const descriptor = descriptorOf(stream);
  if (descriptor === undefined) return false;
  try {
    writeSync(descriptor, NO_BYTES);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "EAGAIN";
  }
}

/** Copies up to this size share memory of Node's pool. */
const POOLED_BYTES = 1_024;

function ownCopy(bytes: Buffer, at: number, end: number): Buffer {
  const length = end - at;
  const copy = length > POOLED_BYTES ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length);
  bytes.copy(copy, 0, at, end);
  return copy;
}

/**
 * Ends a connection so that the other side knows that data is missing. Many programs treat the end of TCP as the end of TLS, and that as the end of a
 * body. Node cannot reset a TLS socket, only the TCP socket under it.
 */
export function breakOff(stream: Duplex, under?: Socket): void {
  const lowest = under ?? (stream instanceof TLSSocket ? undefined : stream);
  if (lowest instanceof Socket && hasReset(lowest) && !isShuttingDown(stream)) lowest.resetAndDestroy();
  stream.destroy();
}

/** Its end is about to leave, behind all bytes. libuv refuses a reset then, and Node would lose the descriptor without a close. */
function isShuttingDown({ writableEnded, writableLength, writableFinished }: Duplex): boolean {
  return writableEnded && writableLength === 0 && !writableFinished;
}

/** Unix sockets have no reset, and `resetAndDestroy` throws for them. */
function hasReset(socket: Socket): boolean {
  return socket.connecting || typeof handleOf(socket)?.reset === "function";
}

/** Beyond it, delayed bytes are sent at once. */
const OUTBOX_BYTES = 524_288;

/**
 * Sends the messages of one turn of the event loop together at its end: first all received bytes are processed, then everything is sent. A program on
 * another core that the first message wakes is still awake for the rest: with 64 busy connections this saves a tenth of a request.
 */
export class TurnOutbox {
  readonly memory: Buffer = Buffer.allocUnsafeSlow(OUTBOX_BYTES);
  readonly #poison: boolean;
  readonly #writers: { flush(): void }[] = [];
  #used = 0;

  constructor({ poison }: { poison: boolean }) {
    this.#poison = poison;
  }

  /** Flushes `writer` at the end of this turn. */
  add(writer: { flush(): void }): void {
    if (this.#writers.push(writer) === 1) setImmediate(this.#endTurn);
  }

  /** The next reservation of so many bytes begins at `at`. */
  fits(at: number, bytes: number): boolean {
    return at === this.#used && at + bytes <= OUTBOX_BYTES;
  }

  /** Reserves memory; flushes everything first if it does not fit. */
  reserve(bytes: number): number {
    if (this.#used + bytes > OUTBOX_BYTES) this.#flushAll();
    const at = this.#used;
    this.#used += bytes;
    return at;
  }

  /** Gives back the last bytes of the last reservation. */
  release(bytes: number): void {
    this.#used -= bytes;
  }

  readonly #endTurn = (): void => {
    try {
      this.#flushAll();
    } finally {
      // Else no later turn would be flushed.
      this.#writers.length = 0;
    }
  };

  #flushAll(): void {
    for (const writer of this.#writers) writer.flush();
    if (this.#poison) this.memory.fill(POISON, 0, this.#used);
    this.#used = 0;
  }
}
