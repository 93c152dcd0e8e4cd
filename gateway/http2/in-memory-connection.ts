import { Duplex } from "node:stream";

/** The other end of an in-memory connection. */
export type InMemoryPeer = {
  /** Bytes that the engine sent; `done` releases their memory, and lets the next ones come. */
  onBytes(bytes: Buffer, done: () => void): void;
  /** The engine sends nothing more. */
  onEnd(): void;
  /** The engine takes more bytes. */
  onResume(): void;
  /** The engine has closed its end, or both have; `onEnd` came before unless the message is incomplete. */
  onClose(): void;
};

/** Like the buffers of a socket in the kernel: beyond it, the sender must wait. */
const BUFFERED_BYTES = 65_536;

/**
 * A connection to a container within the process, with the events of a socket that connects: what the engine writes goes to a peer, and what the peer delivers
 * can be read. Streams of clients have `memory-sockets.ts`, at a lower cost.
 */
export class InMemoryConnection extends Duplex {
  readonly #peer: InMemoryPeer;
  #resumes = false;

  constructor(peer: InMemoryPeer) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFERED_BYTES, writableHighWaterMark: BUFFERED_BYTES });
    this.#peer = peer;
  }

  /** Passes bytes to the engine. False: wait for `onResume`. */
  deliver(bytes: Buffer | string): boolean {
    if (this.destroyed || this.readableEnded) return true;
    const taken = this.push(bytes, "latin1");
    this.#resumes = !taken;
    return taken;
  }

  override _read(): void {
    if (!this.#resumes) return;
    this.#resumes = false;
    this.#peer.onResume();
  }

  override _write(bytes: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#peer.onBytes(bytes, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#peer.onEnd();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#peer.onClose();
    done(error);
  }
}
