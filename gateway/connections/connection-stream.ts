import { Duplex } from "node:stream";
import type { ConnectionUser, NetConnection } from "./connection.ts";

/** A connection as a stream of Node, for libraries that take one. Who ends one direction ends both. */
export class ConnectionStream extends Duplex implements ConnectionUser {
  readonly #connection: NetConnection;
  #written: (() => void) | undefined;

  /** `first`: bytes that came already. The connection is paused. */
  constructor(connection: NetConnection, first: Buffer) {
    super({ allowHalfOpen: false });
    this.#connection = connection;
    // It is closed then, which is all that its user need know.
    this.on("error", () => undefined);
    connection.user = this;
    if (!connection.alive) this.destroy();
    else this.push(first);
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    if (!this.push(Buffer.from(memory.subarray(at, end)))) this.#connection.pause();
  }

  onEnd(): void {
    this.push(null);
  }

  onDrain(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  onClose(error: Error | undefined): void {
    this.destroy(error);
  }

  override _read(): void {
    this.#connection.resume();
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    if (this.#connection.send(bytes, 0, bytes.length)) done();
    else this.#written = done;
  }

  override _final(done: () => void): void {
    this.#connection.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#connection.destroy();
    done(error);
  }
}
