import { createHash } from "node:crypto";
import { raceAbort } from "../../../lib/deadline.ts";
import type { HttpStream } from "../../../lib/http-client.ts";
import { type FairQueue, SharedTurn } from "../../shared-lookups.ts";
import type { CacheStore } from "./cache-store.ts";

type SharedDownloadDeps = {
  /** It is loaded from there. */
  repository: string;
  places: FairQueue;
  closing: AbortSignal;
  begin(signal: AbortSignal, isUsed: () => boolean): Promise<BlobTransfer>;
  /** The next client must not get this download. */
  onOver(): void;
  /** It began. `close` is to be called when it has ended. */
  onTransfer(finished: Promise<void>, close: () => Promise<void>): void;
};

/** A download that several clients share. Until it begins, each of them waits for a turn of its own, since the first may have many others before it. */
export class SharedDownload {
  readonly transfer: Promise<BlobTransfer>;
  readonly signal: AbortSignal;
  readonly repository: string;
  readonly #deps: SharedDownloadDeps;
  readonly #over = new AbortController();
  readonly #turn: SharedTurn;
  #clients = 0;
  #begun: BlobTransfer | undefined;

  constructor(deps: SharedDownloadDeps) {
    this.#deps = deps;
    this.repository = deps.repository;
    this.signal = AbortSignal.any([this.#over.signal, deps.closing]);
    this.#turn = new SharedTurn(deps.places, this.signal);
    this.transfer = this.#begin();
    this.transfer.catch(() => deps.onOver());
  }

  /** Of one that waits for its head or reads it. Returns the function by which it leaves. */
  join(client: string): () => void {
    this.#clients++;
    const leaveTurn = this.#turn.join(client);
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      leaveTurn();
      this.#clients--;
      if (this.#clients === 0) this.#endUnused();
    };
  }

  async #begin(): Promise<BlobTransfer> {
    const { begin, onOver, onTransfer } = this.#deps;
    const endTurn = await this.#turn.begun;
    try {
      const transfer = (this.#begun = await begin(this.signal, () => this.#clients > 0));
      onTransfer(transfer.finished, () => {
        onOver();
        endTurn();
        return transfer.closeIfUnused();
      });
      return transfer;
    } catch (error) {
      this.#over.abort(error);
      endTurn();
      throw error;
    }
  }

  #endUnused(): void {
    if (this.#begun?.hasAllBytes() !== true) {
      this.#deps.onOver();
      this.#over.abort(new Error("no client waits for this layer any more"));
    }
    void this.#begun?.closeIfUnused();
  }
}

/** A blob that arrives in the cache. */
export type BlobTransfer = {
  size: number | undefined;
  /** Yields the bytes from `start` to before `end` as they arrive. */
  read(start: number, end: number | undefined, signal: AbortSignal): AsyncGenerator<Buffer>;
  /** Rejects if it fails, or if its signal aborts. */
  finished: Promise<void>;
  /** Only its place in the cache is missing. */
  hasAllBytes(): boolean;
  /** Closes its file if it has ended, and no client reads it. */
  closeIfUnused(): Promise<void>;
};

const PIECE = 65_536;
/** Space for a layer whose size the upstream does not say. */
const RESERVED_STEP = 64 * 1_048_576;

/** Writes the body to the cache and checks its digest, while clients read what is written. */
export async function receiveBlob(parts: {
  reply: HttpStream;
  digest: string;
  store: CacheStore;
  signal: AbortSignal;
  isUsed(): boolean;
}): Promise<BlobTransfer> {
  const { reply, digest, store, signal, isUsed } = parts;
  const size = lengthOf(reply);
  const algorithm = digest.slice(0, digest.indexOf(":"));
  const { file, handle } = await store.draft();
  let space = size ?? RESERVED_STEP;
  try {
    await store.reserve(file, space);
    signal.throwIfAborted();
  } catch (error) {
    reply.stream.destroy();
    await handle.close();
    await store.discard(file);
    throw error;
  }
  let written = 0;
  let ended: "complete" | Error | undefined;
  let next = Promise.withResolvers<void>();
  const notify = () => {
    next.resolve();
    next = Promise.withResolvers<void>();
  };
  const hasAllBytes = () => written === size || ended === "complete";
  const receive = async () => {
    const hash = createHash(algorithm);
    for await (const piece of reply.stream as AsyncIterable<Buffer>) {
      hash.update(piece);
      if (size !== undefined && written + piece.length > size) throw new Error(`the upstream sends more than ${size} bytes`);
      if (written + piece.length > space) await store.reserve(file, (space += RESERVED_STEP));
      for (let at = 0; at < piece.length;) at += (await handle.write(piece, at, piece.length - at, written + at)).bytesWritten;
      written += piece.length;
      notify();
    }
    if (size !== undefined && written !== size) throw new Error(`the upstream sent ${written} of ${size} bytes`);
    if (`${algorithm}:${hash.digest("hex")}` !== digest) throw new Error("the content does not have the digest");
    await store.keep(file, digest, written);
  };
  const finished = receive()
    .then(
      () => void (ended = "complete"),
      async (error: unknown) => {
        ended = error instanceof Error ? error : new Error(String(error));
        reply.stream.destroy();
        await store.discard(file).catch(() => undefined);
        throw error;
      },
    )
    .finally(notify);
  async function* read(start: number, end = Number.POSITIVE_INFINITY, reader: AbortSignal): AsyncGenerator<Buffer> {
    for (let at = start; at < end;) {
      const progress = next.promise;
      const state = ended;
      const available = Math.min(written, end) - at;
      if (available > 0) {
        const length = Math.min(PIECE, available);
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, at);
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      } else if (state instanceof Error) throw state;
      else if (state === "complete") return;
      else await raceAbort(progress, reader);
    }
  }
  return {
    size,
    read,
    finished,
    hasAllBytes,
    closeIfUnused: async () => {
      if (ended !== undefined && !isUsed()) await handle.close();
    },
  };
}

/** Undefined: the reply does not say. */
export function lengthOf(reply: HttpStream): number | undefined {
  const length = reply.header("content-length");
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}
