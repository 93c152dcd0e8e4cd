import type { Socket } from "node:net";
import { writeNow } from "./write-now.ts";

/** Whoever uses a link at the moment: what it is told of. */
export type LinkUser = {
  /** Some bytes came. Where the link is `volatile`, they are there only until this call ends: send them on, or copy them. */
  onBytes(chunk: Buffer): void;
  /** The other end sends nothing more. */
  onEnd(): void;
  /** What had to wait was sent: more may follow. */
  onDrain(): void;
  /** The connection is gone, `error` where it broke. Nothing follows. */
  onClose(error: Error | undefined): void;
};

/** Up to here, copying bytes costs less than lending their memory. */
const COPIED_BYTES = 16_384;

const NOBODY: LinkUser = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/**
 * One TCP or TLS connection as an engine sees it: one user at a time, who is told of everything, and says when to stop reading.
 * Both ends may close their direction by themselves.
 */
export class Link {
  readonly socket: Socket;
  user: LinkUser = NOBODY;
  /** True where the bytes of `onBytes` do not outlive the call. */
  readonly volatile: boolean;
  #error: Error | undefined;
  #owesDrain = false;
  #sentNow = 0;
  /** Where what is to be sent at once is put together; undefined where only the stream may send. */
  readonly #scratch: Buffer | undefined;
  /** For each write of lent memory, in order: how it is given back. */
  readonly #lent: ((() => void) | undefined)[] = [];
  /**
   * Of a volatile link, while `onBytes` runs: keeps the memory of these bytes from being read into, until the function that it returns is
   * called. Undefined where the memory is everybody's.
   */
  lend: (() => () => void) | undefined;

  /** Nothing is read before `resume`. With `scratch`, memory for what is sent at once, the link is `volatile`, and the socket that `open` makes tells its user of bytes by itself. */
  constructor(open: (link: Link) => Socket, scratch?: Buffer) {
    this.volatile = scratch !== undefined;
    const socket = open(this);
    this.socket = socket;
    this.#scratch = scratch;
    if (!this.volatile) socket.on("data", (chunk: Buffer) => this.user.onBytes(chunk)).pause();
    socket.on("end", () => this.user.onEnd());
    socket.on("drain", () => this.user.onDrain());
    socket.on("error", (error) => void (this.#error ??= error));
    socket.on("close", () => {
      const last = this.user;
      this.user = NOBODY;
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
    return this.socket.bytesWritten + this.#sentNow;
  }

  /** Bytes that wait to be sent. */
  get backlog(): number {
    return this.socket.writableLength;
  }

  resume(): void {
    this.socket.resume();
  }

  pause(): void {
    this.socket.pause();
  }

  /**
   * Sends bytes that came from `from`, or that are the caller's to give away. False where they, or those before them, have to wait: the
   * sender stops reading until `onDrain`.
   */
  send(chunk: Buffer, from?: Link): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    if (from === undefined || !from.volatile) return socket.write(chunk);
    const sent = this.#sendNow(chunk, chunk.length);
    if (sent === chunk.length) return true;
    const rest = sent === 0 ? chunk : chunk.subarray(sent);
    if (from.lend === undefined || rest.length <= COPIED_BYTES) return socket.write(Buffer.from(rest));
    socket.write(rest, this.#onSent);
    // Taken by the system as a whole, or the memory must not be read into before the rest has left.
    const waits = socket.writableLength > 0;
    this.#lent.push(waits ? from.lend() : undefined);
    this.#owesDrain ||= waits;
    return !waits;
  }

  /** The same for text of one byte a character, and for the bytes behind it, which are copied. */
  sendText(latin1: string, body?: Buffer): boolean {
    const { socket } = this;
    if (!socket.writable) return true;
    const scratch = this.#scratch;
    const length = body === undefined ? latin1.length : latin1.length + body.length;
    if (scratch === undefined || length > scratch.length) {
      if (body === undefined) return socket.write(latin1, "latin1");
      return socket.write(together(Buffer.allocUnsafe(length), latin1, body));
    }
    together(scratch, latin1, body);
    const sent = this.#sendNow(scratch, length);
    return sent === length || socket.write(Buffer.from(scratch.subarray(sent, length)));
  }

  /** Sends nothing more; what waits still leaves. */
  end(): void {
    if (this.socket.writable) this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Ends so that the other side knows that something is missing. */
  reset(): void {
    const { socket } = this;
    if ("encrypted" in socket) socket.destroy();
    else socket.resetAndDestroy();
  }

  /** How many bytes the system took at once. */
  #sendNow(bytes: Buffer, length: number): number {
    if (this.#scratch === undefined) return 0;
    const sent = writeNow(this.socket, bytes, length);
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

/** A link over a socket that somebody else opened and nobody reads yet. */
export function linkOver(socket: Socket): Link {
  return new Link(() => socket);
}

function together(into: Buffer, latin1: string, body: Buffer | undefined): Buffer {
  into.write(latin1, 0, "latin1");
  body?.copy(into, latin1.length);
  return into;
}
