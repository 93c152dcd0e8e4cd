import { EAGAIN, EINTR, type Libc, type Pointer } from "./libc.ts";

/** One step, so that one socket cannot occupy a turn. */
const MAX_STEP_BYTES = 1_048_576;
/** A pipe refers to so many pages; users other than root have a limit for all of theirs. The kernel's default is 64 KiB. */
const PIPE_BYTES = 262_144;

const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x8_0000;
const F_SETPIPE_SZ = 1031;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const NO_OFFSET: Pointer = 0n;
/** EINVAL, ENOSYS: the kernel does not do it with this socket, which is read then. */
const UNSUPPORTED: ReadonlySet<number> = new Set([22, 38]);

/** `moved`: all bytes were moved, or `to` takes none any more. `blocked`: until `to` takes more. `open`: there may be more at once. `empty`: `from` has none. */
type MoveState = "moved" | "blocked" | "open" | "empty";

/** Where the bytes come from. */
type MoveSource = { readonly fd: number; readonly readable: boolean; readonly paused: boolean };
/** Where they go. */
type MoveTarget = {
  readonly fd: number;
  /** It takes nothing more. */
  readonly closing: boolean;
  readonly drops: boolean;
  /** They go first. */
  readonly unsentBytes: number;
  refuse(error: Error): void;
};

/**
 * Moves the next bytes of one socket to another within the kernel, through a pipe (splice(2)): nothing copies them. The pipe is emptied before the next
 * bytes enter it, so that `from` ends only after its last bytes were sent.
 */
export class BodyMove {
  readonly #libc: Libc;
  readonly #from: MoveSource;
  readonly #to: MoveTarget;
  readonly #readEnd: number;
  readonly #writeEnd: number;
  /** Bytes that have not entered the pipe. */
  #left: number;
  #inPipe = 0;
  #state: MoveState = "open";
  #result = 0;

  /** Undefined: the process has no descriptor left. */
  static open(libc: Libc, from: MoveSource, to: MoveTarget, bytes: number): BodyMove | undefined {
    const ends = new Int32Array(2);
    if (libc.pipe2(libc.addressOf(ends), O_NONBLOCK | O_CLOEXEC) !== 0) return undefined;
    // It works with a smaller pipe as well.
    libc.fcntl(ends[1] as number, F_SETPIPE_SZ, PIPE_BYTES);
    return new BodyMove(libc, from, to, bytes, ends);
  }

  private constructor(libc: Libc, from: MoveSource, to: MoveTarget, bytes: number, ends: Int32Array) {
    this.#libc = libc;
    this.#from = from;
    this.#to = to;
    this.#left = bytes;
    this.#readEnd = ends[0] as number;
    this.#writeEnd = ends[1] as number;
  }

  get state(): MoveState {
    return this.#state;
  }

  /** Bytes that `to` has not taken. */
  get backlog(): number {
    return this.#inPipe;
  }

  /** Of the last read, if the state is `empty`: 0 at the end, or -1. */
  get result(): number {
    return this.#result;
  }

  /** Moves what can be moved now; `to` was flushed. Returns how many bytes count as sent. */
  step(): number {
    const from = this.#from;
    const to = this.#to;
    if (to.closing || to.drops) return this.#discard();
    this.#state = "blocked";
    if (to.unsentBytes > 0) return 0;
    if (this.#inPipe > 0) return this.#empty();
    this.#state = "open";
    if (!from.readable || from.paused) return 0;
    const length = this.#splice(from.fd, this.#writeEnd, Math.min(this.#left, MAX_STEP_BYTES));
    if (length <= 0) {
      this.#state = length < 0 && UNSUPPORTED.has(this.#libc.errno()) ? "moved" : "empty";
      this.#result = length;
      return 0;
    }
    this.#left -= length;
    this.#inPipe = length;
    return this.#empty();
  }

  close(): void {
    this.#libc.close(this.#readEnd);
    this.#libc.close(this.#writeEnd);
  }

  #empty(): number {
    let moved = 0;
    while (this.#inPipe > 0) {
      const length = this.#splice(this.#readEnd, this.#to.fd, this.#inPipe);
      if (length <= 0) {
        if (this.#libc.errno() === EAGAIN) {
          this.#state = "blocked";
          return moved;
        }
        this.#to.refuse(this.#libc.failure("splice"));
        return moved + this.#discard();
      }
      this.#inPipe -= length;
      moved += length;
    }
    this.#state = this.#left === 0 ? "moved" : "open";
    return moved;
  }

  /** Bytes that `to` refuses count as sent. */
  #discard(): number {
    const lost = this.#inPipe;
    this.#inPipe = 0;
    this.#state = "moved";
    return lost;
  }

  #splice(from: number, to: number, bytes: number): number {
    for (;;) {
      const length = Number(this.#libc.splice(from, NO_OFFSET, to, NO_OFFSET, BigInt(bytes), SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
      if (length >= 0 || this.#libc.errno() !== EINTR) return length;
    }
  }
}
