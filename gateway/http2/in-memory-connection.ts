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

/** A connection within the process, as an engine sees it: what it writes goes to a peer, and what the peer delivers can be read. */
export class InMemoryConnection extends Duplex {
  /** Of the client. */
  readonly remoteAddress: string;
  /** Its bytes come from, or go to, a TLS connection. */
  readonly encrypted: boolean;
  readonly #peer: InMemoryPeer;
  #resumes = false;

  constructor(peer: InMemoryPeer, { remoteAddress = "", tls = false }: { remoteAddress?: string; tls?: boolean } = {}) {
    super({ allowHalfOpen: true, readableHighWaterMark: BUFFERED_BYTES, writableHighWaterMark: BUFFERED_BYTES });
    this.#peer = peer;
    this.remoteAddress = remoteAddress;
    this.encrypted = tls;
  }

  /** Passes bytes to the engine. False: wait for `onResume`. */
  deliver(bytes: Buffer | string): boolean {
    if (this.destroyed || this.readableEnded) return true;
    const taken = this.push(bytes, "latin1");
    this.#resumes = !taken;
    return taken;
  }

  /** The peer sends nothing more. */
  deliverEnd(): void {
    if (!this.destroyed) this.push(null);
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
