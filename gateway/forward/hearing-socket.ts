import { Socket } from "node:net";

type Done = (error?: Error | null) => void;

/**
 * A connection to a container that may refuse the rest of a request, say why, and close. A stream gives up a connection that takes
 * nothing more, and what came over it unread; here only reading tells how it ended, and what was not taken counts as sent.
 */
export class HearingSocket extends Socket {
  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super["_write"](chunk, encoding, this.#hearing(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super["_writev"]?.(chunks, this.#hearing(done));
  }

  #hearing(done: Done): Done {
    return (error) => done(isRefused(error) && !this.readableEnded ? null : error);
  }
}

function isRefused(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
}
