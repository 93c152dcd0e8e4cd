import type { Http2Stream } from "node:http2";

/**
 * Writes what the engine sends to a stream. The engine's bytes may be used again when their `done` is called, which is after the stream has sent them: so
 * a stream whose other end does not read is back-pressure for the engine.
 */
export class StreamWriter {
  #stream: Http2Stream | undefined;
  #done: (() => void) | undefined;
  #unsent: Buffer | undefined;

  /** The stream of the next bytes; undefined: they are discarded. */
  use(stream: Http2Stream | undefined): void {
    this.#flush();
    this.#stream = stream;
  }

  /** The bytes of the following calls belong to one write of the engine. */
  begin(done: () => void): void {
    this.#done = done;
  }

  /** Writes complete in order: only the last one of an engine's write reports that all are sent. */
  send(bytes: Buffer): void {
    this.#flush();
    this.#unsent = bytes;
  }

  /** Nothing more follows on this stream. */
  end(): void {
    this.settle();
    if (this.#stream?.destroyed === false) this.#stream.end();
  }

  /** The engine's write is complete. May be repeated. */
  settle(): void {
    const done = this.#done;
    this.#done = undefined;
    if (!this.#flush(done && (() => done()))) done?.();
  }

  #flush(done?: () => void): boolean {
    const unsent = this.#unsent;
    this.#unsent = undefined;
    const stream = this.#stream;
    if (unsent === undefined || stream === undefined || stream.destroyed || stream.writableEnded) return false;
    stream.write(unsent, done);
    return true;
  }
}
