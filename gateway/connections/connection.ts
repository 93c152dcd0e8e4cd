import type { Socket } from "node:net";
import { type Outbox, writeNow } from "./outbox.ts";

/** Whoever uses a link at the moment: what it is told of. */
export type NetConnectionUser = {
  /** Some bytes came. Where the link is `volatile`, they are there only until this call ends: send them on, or copy them. */
  onBytes(chunk: Buffer): void;
  /** The other end sends nothing more. */
  onEnd(): void;
  /** What had to wait was sent: more may follow. */
  onDrain(): void;
  /** The connection is gone, `error` where it broke. Nothing follows. */
  onClose(error: Error | undefined): void;
};

export type NetConnectionOptions = {
  /** The socket reads into memory that is used again, and tells its user of bytes by itself. */
  volatile?: boolean;
  /** Lets small messages wait for the end of the turn. With memory, what is sent goes past the stream: not for connections that Node encrypts. */
  outbox?: Outbox | undefined;
  /** Of a TLS connection, the TCP connection below it. */
  under?: Socket | undefined;
};

/** Up to here, copying bytes costs less than lending their memory, and messages wait for the end of the turn. */
const SMALL_BYTES = 16_384;

const NO_USER: NetConnectionUser = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/**
 * One TCP or TLS connection as an engine sees it: one user at a time, who is told of everything, and says when to stop reading.
 * Both ends may close their direction by themselves.
 */
export class NetConnection {
  readonly socket: Socket;
  user: NetConnectionUser = NO_USER;
  /** True where the bytes of `onBytes` do not outlive the call that is under way. */
  volatile: boolean;
  #error: Error | undefined;
  #owesDrain = false;
  #sentNow = 0;
  readonly #outbox: Outbox | undefined;
  readonly #under: Socket | undefined;
  /** What waits for the end of the turn: how many bytes, and where in the outbox's memory. */
  #waits = 0;
  #waitsAt = 0;
  /** The same where the outbox has no memory: mostly one message, and what follows it. */
  #first: string | Buffer | undefined;
  #firstIsOwn = false;
  readonly #others: (string | Buffer)[] = [];
  /** For each write of lent memory, in order: how it is given back. */
  readonly #lent: ((() => void) | undefined)[] = [];
  /**
   * Of a volatile link, while `onBytes` runs: keeps the memory of these bytes from being used again, until the function that it returns is
   * called. Undefined where the memory is everybody's, or has been lent already.
   */
  lend: (() => () => void) | undefined;

  /** Nothing is read before `resume`. */
  constructor(open: (link: NetConnection) => Socket, { volatile = false, outbox, under }: NetConnectionOptions = {}) {
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

  /** False once nothing more can be sent. */
  get writable(): boolean {
    return this.socket.writable;
  }

  /** Bytes that were ever sent, or are to be. */
  get bytesSent(): number {
    this.flush();
    return this.socket.bytesWritten + this.#sentNow;
  }

  /** Bytes that the other end has yet to take. */
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

  /**
   * Sends bytes that came from `from`, or that are the caller's to give away. False where they, or those before them, have to wait for the
   * other end: the sender stops reading until `onDrain`.
   */
  send(chunk: Buffer, from?: NetConnection): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    const volatile = from?.volatile === true;
    if (chunk.length <= SMALL_BYTES) {
      const into = this.#waitingRoom();
      if (into !== undefined) {
        chunk.copy(into, this.#placeFor(chunk.length));
        return true;
      }
      const message = volatile ? ownCopy(chunk) : chunk;
      return this.#hold(message, volatile) || socket.write(message);
    }
    this.flush();
    if (!volatile) return socket.write(chunk);
    const sent = this.#sendNow(chunk, 0, chunk.length);
    if (sent === chunk.length) return true;
    const rest = sent === 0 ? chunk : chunk.subarray(sent);
    const own = from.lend === undefined ? ownCopy(rest) : undefined;
    socket.write(own ?? rest, this.#onSent);
    // Taken by the system as a whole, or the memory must not be read into before the rest has left.
    const waits = socket.writableLength > 0;
    const over = own === undefined ? waits && from.lend?.() : () => giveBack(own);
    if (!waits && over) over();
    this.#lent.push(waits && over ? over : undefined);
    this.#owesDrain ||= waits;
    return !waits;
  }

  /** The same for text of one byte a character, and for the bytes behind it, which are copied. */
  sendText(latin1: string, body?: Buffer): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    const length = body === undefined ? latin1.length : latin1.length + body.length;
    if (length <= SMALL_BYTES) {
      const into = this.#waitingRoom();
      if (into !== undefined) {
        const at = this.#placeFor(length);
        into.write(latin1, at, "latin1");
        body?.copy(into, at + latin1.length);
        return true;
      }
    } else this.flush();
    let message: string | Buffer = latin1;
    if (body !== undefined) {
      message = ownMemory(length);
      message.write(latin1, 0, "latin1");
      body.copy(message, latin1.length);
    }
    return (length <= SMALL_BYTES && this.#hold(message, body !== undefined)) || socket.write(message, "latin1");
  }

  /** Sends now what waits for the end of the turn. */
  flush(): void {
    const waits = this.#waits;
    if (this.#first !== undefined) return this.#flushMessages(this.#first);
    if (waits === 0) return;
    this.#waits = 0;
    const memory = this.#outbox?.memory;
    const { socket } = this;
    if (memory === undefined || !socket.writable) return;
    const end = this.#waitsAt + waits;
    const sent = this.#sendNow(memory, this.#waitsAt, waits);
    if (sent < waits) socket.write(Buffer.from(memory.subarray(end - waits + sent, end)));
  }

  /** Sends nothing more; what waits still leaves. */
  end(): void {
    this.flush();
    if (this.socket.writable) this.socket.end();
  }

  destroy(): void {
    this.flush();
    this.socket.destroy();
  }

  /** Ends so that the other side knows that something is missing. */
  reset(): void {
    this.flush();
    breakOff(this.socket, this.#under);
  }

  /**
   * The memory of a long chunk is given back as soon as it has been sent on. Left to the garbage collector, it makes that run
   * all the time: of a long upload it took half the processor time.
   */
  #onData(chunk: Buffer): void {
    if (chunk.length <= SMALL_BYTES) return this.user.onBytes(chunk);
    let lent = false;
    this.volatile = true;
    this.lend = () => {
      this.lend = undefined;
      lent = true;
      return () => giveBack(chunk);
    };
    this.user.onBytes(chunk);
    this.volatile = false;
    this.lend = undefined;
    if (!lent) giveBack(chunk);
  }

  /** Where a small message may wait; undefined where the stream has to take it. */
  #waitingRoom(): Buffer | undefined {
    return this.socket.writableLength === 0 ? this.#outbox?.memory : undefined;
  }

  /** Where to put so many bytes; directly behind what waits already. */
  #placeFor(bytes: number): number {
    const outbox = this.#outbox as Outbox;
    const at = outbox.place(bytes);
    if (this.#waits > 0 && at !== this.#waitsAt + this.#waits) this.flush();
    if (this.#waits === 0) {
      this.#waitsAt = at;
      outbox.add(this);
    }
    this.#waits += bytes;
    return at;
  }

  /**
   * Lets a message wait for the end of the turn where the outbox has no memory; `own`: its memory is given back after. False where it goes
   * to the stream at once.
   */
  #hold(message: string | Buffer, own: boolean): boolean {
    if (this.#outbox === undefined) return false;
    if (this.#outbox.memory !== undefined) {
      this.flush();
      return false;
    }
    if (this.#first !== undefined) return this.#others.push(message) > 0;
    // Behind what the other end has yet to take, it waits in any case.
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
      if (this.#firstIsOwn && typeof first !== "string" && socket.writableLength === 0) giveBack(first);
      return;
    }
    socket.cork();
    socket.write(first, "latin1");
    for (const other of this.#others) socket.write(other, "latin1");
    this.#others.length = 0;
    socket.uncork();
  }

  /** How many bytes the system took at once. */
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

/** Beyond it, a message's memory is given back by itself; below, many share theirs. */
const SHARED_BYTES = 1_024;

function ownMemory(bytes: number): Buffer {
  return bytes > SHARED_BYTES ? Buffer.allocUnsafeSlow(bytes) : Buffer.allocUnsafe(bytes);
}

function ownCopy(bytes: Buffer): Buffer {
  const copy = ownMemory(bytes.length);
  bytes.copy(copy);
  return copy;
}

/** Where a chunk is all of its memory, nobody else has a part of that. */
function giveBack({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** A link over a socket that somebody else opened and nobody reads yet. */
/**
 * Ends a connection so that the other side knows that something is missing: many take the end of a TCP connection for the end of a TLS one,
 * and that for the end of a body. Node resets the one below TLS only where it is given.
 */
export function breakOff(socket: Socket, under?: Socket): void {
  if (under !== undefined || !("encrypted" in socket)) (under ?? socket).resetAndDestroy();
  socket.destroy();
}

export function connectionOver(socket: Socket): NetConnection {
  return new NetConnection(() => socket);
}
