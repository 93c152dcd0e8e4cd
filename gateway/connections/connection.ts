import { writeSync } from "node:fs";
import type { Socket } from "node:net";
import type { TurnOutbox } from "./outbox.ts";

/** Receives the events of a connection. */
export type ConnectionUser = {
  /** Bytes `at`..`end` of `memory` came. They are valid only during this call: send or copy them. */
  onBytes(memory: Buffer, at: number, end: number): void;
  /** The other end sends nothing more. */
  onEnd(): void;
  /** The queued bytes were sent: more may follow. */
  onDrain(): void;
  /** The last event; `error` if the connection broke. */
  onClose(error: Error | undefined): void;
};

/** A received buffer that may be kept until a function is called, instead of being used again after `onBytes`. */
export type Lender = { memory: Buffer | undefined; lend(): () => void };

type ConnectionOptions = {
  outbox: TurnOutbox;
  lender: Lender;
  remoteAddress: string;
  /** Writes past the stream: not for connections that Node encrypts. */
  pastStream: boolean;
  /** The TCP connection under a TLS connection. */
  under?: Socket | undefined;
};

/** Up to this size, bytes are copied and sent at the end of the turn. */
const SMALL_BYTES = 16_384;

const NO_USER: ConnectionUser = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/** An established connection with one user at a time. Each direction may end by itself. */
export class Connection {
  user: ConnectionUser = NO_USER;
  /** Empty if it is not known; without `::ffff:`. */
  readonly remoteAddress: string;
  readonly tls: boolean;
  readonly #socket: Socket;
  readonly #outbox: TurnOutbox;
  readonly #lender: Lender;
  readonly #pastStream: boolean;
  readonly #under: Socket | undefined;
  #error: Error | undefined;
  #owesDrain = false;
  #sent = 0;
  /** Delayed bytes in the outbox: their number and offset. */
  #delayed = 0;
  #delayedAt = 0;
  #reserved = 0;
  /** For each write of lent memory, in order: returns it. */
  readonly #lent: ((() => void) | undefined)[] = [];

  /** Reads nothing before `resume`. */
  constructor(open: (connection: Connection) => Socket, { outbox, lender, remoteAddress, pastStream, under }: ConnectionOptions) {
    const socket = open(this);
    this.#socket = socket;
    this.#outbox = outbox;
    this.#lender = lender;
    this.#pastStream = pastStream;
    this.#under = under;
    this.remoteAddress = remoteAddress.replace(/^::ffff:/, "");
    this.tls = "encrypted" in socket;
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
    return !this.#socket.destroyed;
  }

  /** `onClose` was called. */
  get closed(): boolean {
    return this.#socket.closed;
  }

  /** False: nothing more can be sent. */
  get writable(): boolean {
    return this.#socket.writable;
  }

  /** `end` was called. */
  get ended(): boolean {
    return this.#socket.writableEnded;
  }

  get paused(): boolean {
    return this.#socket.isPaused();
  }

  /** Bytes that were sent or queued. */
  get bytesSent(): number {
    return this.#sent;
  }

  /** Bytes that the other end has not taken yet. */
  get backlog(): number {
    this.flush();
    return this.#socket.writableLength;
  }

  /** Where `place` reserves. */
  get memory(): Buffer {
    return this.#outbox.memory;
  }

  resume(): void {
    this.#socket.resume();
  }

  pause(): void {
    this.#socket.pause();
  }

  /** Calls `act` after `onClose`. */
  onceClosed(act: () => void): void {
    this.#socket.once("close", act);
  }

  /** Sends bytes `at`..`end`, which are valid for this call only. False: they are queued, so the sender must pause until `onDrain`. */
  send(memory: Buffer, at: number, end: number): boolean {
    const socket = this.#socket;
    if (!socket.writable) return true;
    const length = end - at;
    if (length <= SMALL_BYTES) {
      memory.copy(this.#outbox.memory, this.place(length), at, end);
      return this.placed(length);
    }
    this.#sent += length;
    this.flush();
    const sent = this.#sendNow(memory, at, length);
    if (sent === length) return true;
    const lends = this.#lender.memory === memory;
    const rest = lends ? memory.subarray(at + sent, end) : ownCopy(memory, at + sent, end);
    socket.write(rest, this.#onSent);
    // Unless the kernel took all of it, the memory must not be used again before the rest is sent.
    const queued = socket.writableLength > 0;
    this.#lent.push(queued && lends ? this.#lender.lend() : undefined);
    this.#owesDrain ||= queued;
    return !queued;
  }

  /** Sends bytes that the caller gives away. */
  sendOwn(bytes: Buffer): boolean {
    if (bytes.length <= SMALL_BYTES) return this.send(bytes, 0, bytes.length);
    const socket = this.#socket;
    if (!socket.writable) return true;
    this.#sent += bytes.length;
    this.flush();
    return socket.write(bytes);
  }

  sendText(latin1: string): boolean {
    const { length } = latin1;
    if (length > SMALL_BYTES) return this.sendOwn(Buffer.from(latin1, "latin1"));
    if (!this.#socket.writable) return true;
    this.#outbox.memory.write(latin1, this.place(length), "latin1");
    return this.placed(length);
  }

  /** Reserves room behind what is queued in this turn, and returns its offset in `memory`. Write there, then call `placed` before anything else. */
  place(bytes: number): number {
    if (this.#delayed > 0 && !this.#outbox.fits(this.#delayedAt + this.#delayed, bytes)) this.flush();
    const at = this.#outbox.reserve(bytes);
    this.#reserved = bytes;
    if (this.#delayed === 0) this.#delayedAt = at;
    return at;
  }

  /** Sends the first `bytes` of the reserved room. False: see `send`. */
  placed(bytes: number): boolean {
    const outbox = this.#outbox;
    outbox.release(this.#reserved - bytes);
    const socket = this.#socket;
    if (!socket.writable || bytes === 0) return true;
    this.#sent += bytes;
    if (socket.writableLength > 0) {
      const at = this.#delayedAt;
      return socket.write(ownCopy(outbox.memory, at, at + bytes));
    }
    if (this.#delayed === 0) outbox.add(this);
    this.#delayed += bytes;
    return true;
  }

  /** Sends delayed bytes now. */
  flush(): void {
    const length = this.#delayed;
    if (length === 0) return;
    this.#delayed = 0;
    const socket = this.#socket;
    if (!socket.writable) return;
    const { memory } = this.#outbox;
    const at = this.#delayedAt;
    const sent = this.#sendNow(memory, at, length);
    if (sent < length) socket.write(ownCopy(memory, at + sent, at + length));
  }

  /** Sends what is queued, and nothing more. */
  end(): void {
    this.flush();
    if (this.#socket.writable) this.#socket.end();
  }

  destroy(): void {
    this.flush();
    this.#socket.destroy();
  }

  /** Ends so that the other side knows that data is missing. */
  reset(): void {
    this.flush();
    breakOff(this.#socket, this.#under);
  }

  /** The other end has closed, as far as the kernel knows. For connections that are not read. */
  isBroken(): boolean {
    const descriptor = descriptorOf(this.#socket);
    if (descriptor === undefined) return false;
    try {
      writeSync(descriptor, NO_BYTES);
      return false;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code !== "EAGAIN";
    }
  }

  /** Returns how many bytes the kernel took. */
  #sendNow(bytes: Buffer, from: number, length: number): number {
    return this.#pastStream ? writeNow(this.#socket, bytes, from, length) : 0;
  }

  readonly #onSent = () => {
    this.#lent.shift()?.();
    if (!this.#owesDrain || this.#socket.writableLength > 0) return;
    this.#owesDrain = false;
    this.user.onDrain();
  };
}

const NO_BYTES = Buffer.alloc(0);

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
export function breakOff(socket: Socket, under?: Socket): void {
  if (under !== undefined || !("encrypted" in socket)) (under ?? socket).resetAndDestroy();
  socket.destroy();
}

/**
 * Writes past the stream, and returns how many bytes the kernel took. A stream may queue bytes, so those in reused memory would have to be copied, which
 * for messages of 16 KiB costs more than everything else. Returns 0 if the descriptor is not available, or the stream has queued bytes; the stream then
 * reports any error.
 */
function writeNow(socket: Socket, bytes: Buffer, from: number, length: number): number {
  if (socket.writableLength > 0) return 0;
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
