import { Socket } from "node:net";

type Done = (error?: Error | null) => void;

/**
 * A connection to a container that may refuse the rest of a request, say why, and close. A stream gives up a connection that takes
 * nothing more, and what came over it unread; here only reading tells how it ended, and what was not taken counts as sent.
 */
export class HearingSocket extends Socket {
  #done: Done | undefined;
  #heard: Done = () => undefined;

  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super["_write"](chunk, encoding, this.#hearing(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super["_writev"]?.(chunks, this.#hearing(done));
  }

  /** A stream hands in the same function each time. */
  #hearing(done: Done): Done {
    if (done === this.#done) return this.#heard;
    this.#done = done;
    this.#heard = (error) => done(isRefused(error) && !this.readableEnded ? null : error);
    return this.#heard;
  }
}

function isRefused(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
}
