import { close, fstatSync, open, write } from "node:fs";
import type { Clock } from "../lib/clock.ts";
import { completesWithin } from "../lib/deadline.ts";
import type { Count } from "../lib/metrics/open-metrics.ts";

type LineFileOptions = {
  /** A file's path; undefined: standard output. */
  path: string | undefined;
  /** Lines that were not written because too much waits. */
  dropped: Count;
  clock: Clock;
  onError(error: Error): void;
};

/** Bytes that wait to be written; beyond it, lines are dropped and counted. */
const MAX_BUFFERED_BYTES = 4 * 1_048_576;
/** One write to a file. The kernel appends each as a whole, also if other processes append to the file. */
const FILE_WRITE_BYTES = 65_536;
/** Several processes may write so much to a pipe at once without mixing their lines (PIPE_BUF). */
const PIPE_WRITE_BYTES = 4_096;
const FLUSH_MS = 250;
/** A pipe that takes nothing now (EAGAIN) gets the bytes again after this time. */
const PIPE_FULL_MS = 10;
/** The same after any other error, such as a full disk. */
const BROKEN_MS = 1_000;
/** The close waits so long for a reader. */
const CLOSE_MS = 1_000;
const STDOUT = 1;
const MODE = 0o640;
/** Written chunks that are kept for later use. */
const MAX_SPARE = 4;

/** Whole lines in one piece of memory. `from`: where the unwritten ones begin. */
type LineChunk = { readonly bytes: Buffer; from: number; end: number };

/** Appends lines to a file outside of the event loop: a chunk of them when it is full, or after `FLUSH_MS`. */
export class LineFile {
  readonly #options: LineFileOptions;
  #fd: number | undefined;
  #writeBytes = PIPE_WRITE_BYTES;
  /** The chunk that gets the next line. */
  #filling: LineChunk | undefined;
  readonly #queue: LineChunk[] = [];
  /** The chunk that is being written. */
  #current: LineChunk | undefined;
  /** A thread writes to this descriptor. */
  #writingTo: number | undefined;
  readonly #spare: LineChunk[] = [];
  #waitingBytes = 0;
  #cancelFlush: (() => void) | undefined;
  #onEmpty: () => void = () => undefined;

  constructor(options: LineFileOptions) {
    this.#options = options;
    this.reopen();
  }

  /** Copies the first `length` bytes of `line`. Never waits. */
  append(line: Buffer, length: number): void {
    if (this.#waitingBytes + length > MAX_BUFFERED_BYTES) return this.#options.dropped.add();
    let chunk = this.#filling;
    if (chunk === undefined || chunk.end + length > chunk.bytes.length) {
      this.#enqueue();
      chunk = this.#take(length);
      this.#filling = chunk;
    }
    line.copy(chunk.bytes, chunk.end, 0, length);
    chunk.end += length;
    this.#waitingBytes += length;
    this.#cancelFlush ??= this.#options.clock.after(FLUSH_MS, this.#flush);
  }

  /** Opens the file, and again after it was renamed. Lines that wait go to the new one. */
  reopen(): void {
    const { path, onError } = this.#options;
    if (path === undefined) return this.#use(STDOUT);
    open(path, "a", MODE, (error, fd) => (error === null ? this.#use(fd) : onError(error)));
  }

  /** Writes what waits, for at most `CLOSE_MS`. Nothing may be appended after it. */
  async close(): Promise<void> {
    const { clock } = this.#options;
    const empty = new Promise<void>((resolve) => (this.#onEmpty = resolve));
    this.#cancelFlush?.();
    this.#flush();
    await completesWithin(empty, CLOSE_MS, clock);
    this.#release(this.#fd);
    this.#fd = undefined;
  }

  #use(fd: number): void {
    const before = this.#fd;
    this.#fd = fd;
    const stat = fstatSync(fd);
    this.#writeBytes = stat.isFIFO() || stat.isSocket() ? PIPE_WRITE_BYTES : FILE_WRITE_BYTES;
    this.#release(before);
    this.#writeNext();
  }

  #release(fd: number | undefined): void {
    if (fd !== undefined && fd !== STDOUT && fd !== this.#writingTo) close(fd, () => undefined);
  }

  #take(length: number): LineChunk {
    const spare = this.#spare.pop();
    const size = Math.max(length, this.#writeBytes);
    return spare?.bytes.length === size ? spare : { bytes: Buffer.allocUnsafeSlow(size), from: 0, end: 0 };
  }

  readonly #flush = (): void => {
    this.#cancelFlush = undefined;
    // Behind lines that wait, it gets more: while a disk is full, each flush would add a chunk that is almost empty.
    if (this.#current === undefined && this.#queue.length === 0) this.#enqueue();
    this.#writeNext();
  };

  /** The lines so far leave, whether their chunk is full or not. */
  #enqueue(): void {
    if (this.#filling === undefined) return;
    this.#queue.push(this.#filling);
    this.#filling = undefined;
    this.#writeNext();
  }

  #writeNext(): void {
    if (this.#current !== undefined) return;
    if (this.#queue.length === 0) return this.#filling !== undefined && this.#cancelFlush === undefined ? this.#enqueue() : this.#onEmpty();
    if (this.#fd === undefined) return;
    this.#current = this.#queue.shift();
    if (this.#current !== undefined) this.#write(this.#current);
  }

  #write(chunk: LineChunk): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#writingTo = fd;
    write(fd, chunk.bytes, chunk.from, chunk.end - chunk.from, null, (error, written) => {
      this.#writingTo = undefined;
      // It was moved away meanwhile, or is closed.
      if (fd !== this.#fd) this.#release(fd);
      if (error !== null) return this.#retry(chunk, error);
      chunk.from += written;
      this.#waitingBytes -= written;
      if (chunk.from < chunk.end) return this.#write(chunk);
      this.#current = undefined;
      chunk.from = 0;
      chunk.end = 0;
      if (this.#spare.length < MAX_SPARE) this.#spare.push(chunk);
      this.#writeNext();
    });
  }

  #retry(chunk: LineChunk, error: NodeJS.ErrnoException): void {
    const { clock, onError } = this.#options;
    const isFull = error.code === "EAGAIN";
    if (!isFull) onError(error);
    clock.after(isFull ? PIPE_FULL_MS : BROKEN_MS, () => this.#write(chunk));
  }
}
