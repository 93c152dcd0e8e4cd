import { type ConnectionUser, type NetConnection, NO_USER } from "../connections/connection.ts";
import type { TakeHttp2 } from "../connections/engine.ts";

/** Of the preface of HTTP/2 (RFC 9113 §3.4). No method of HTTP/1.1 begins so, and clients send the preface whole. */
const HTTP2 = "PRI ";

/** The user of a connection until its first bytes show what it speaks: HTTP/1.1, which `client` reads, or HTTP/2 with prior knowledge. */
export class FirstBytes implements ConnectionUser {
  readonly #connection: NetConnection;
  readonly #client: ConnectionUser;
  readonly #takeHttp2: TakeHttp2;

  constructor(connection: NetConnection, client: ConnectionUser, takeHttp2: TakeHttp2) {
    this.#connection = connection;
    this.#client = client;
    this.#takeHttp2 = takeHttp2;
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    const connection = this.#connection;
    if (memory.toString("latin1", at, Math.min(end, at + HTTP2.length)) !== HTTP2) {
      connection.user = this.#client;
      return this.#client.onBytes(memory, at, end);
    }
    connection.user = NO_USER;
    connection.pause();
    // For this user it is over.
    this.#client.onClose(undefined);
    this.#takeHttp2(connection, Buffer.from(memory.subarray(at, end)));
  }

  onEnd(): void {
    this.#client.onEnd();
  }

  onDrain(): void {
    this.#client.onDrain();
  }

  onClose(error: Error | undefined): void {
    this.#client.onClose(error);
  }
}
