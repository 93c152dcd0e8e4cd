import { EINTR, type Libc, type Pointer } from "./libc.ts";
import { addressOf, IoVectors, type MemoryAddress, writeAddress } from "./unsent-bytes.ts";

/** Calls of one submission. */
const MAX_CALLS = 256;
/** Vectors of all sends of one submission. */
const MAX_VECTORS = 1_024;

/** Of `io_uring_setup`. Continue after a call that fails. */
const SETUP_SUBMIT_ALL = 1 << 7;
/** No interrupts: every call is done when the submission returns. */
const SETUP_COOP_TASKRUN = 1 << 8;
/** One thread submits: Linux 6.0. */
const SETUP_SINGLE_ISSUER = 1 << 12;
/** Of `io_uring_enter`: wait for results. */
const ENTER_GETEVENTS = 1;
const OP_SENDMSG = 9;
const OP_SEND = 26;
const OP_RECV = 27;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/** Sizes of the kernel's structures, in words of 4 bytes: `io_uring_params`, `io_uring_sqe`, `io_uring_cqe`, `msghdr`. */
const PARAMS_WORDS = 30;
const CALL_WORDS = 16;
const COMPLETION_WORDS = 4;
const MESSAGE_WORDS = 14;
/** Words of `io_uring_params`: the flags, and where the offsets in each half of the ring begin. */
const FLAGS_WORD = 2;
const SUBMISSION_OFFSETS_WORD = 10;
const COMPLETION_OFFSETS_WORD = 20;

/** What is mapped of a ring: its counters and results, and its calls. */
const RING_OFFSET = 0n;
const CALLS_OFFSET = 0x1000_0000n;
/** `PROT_READ | PROT_WRITE`, and `MAP_SHARED | MAP_POPULATE`. */
const PROTECTION = 3;
const MAP_FLAGS = 0x8001;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * Receives and sends of many sockets in one system call (io_uring(7)). None waits: what a socket cannot do at once returns EAGAIN, so all are done when
 * `submit` returns, and the kernel keeps no address of this process's memory. Small requests and messages cost up to a fifth less so
 * (docs/contributing/figures.md): the processor goes to the kernel and back once, and finds more of the program in its caches.
 */
export class IoUring {
  /** Of the sends: see `send`. */
  readonly vectors: IoVectors;
  /** The place in `vectors` of the next send's first vector. */
  nextVector = 0;
  /** Calls that were added since the last submission. */
  count = 0;
  /** False: the kernel has refused calls once. It takes no more. */
  isUsable = true;
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #ring: Uint32Array;
  readonly #calls: Uint32Array;
  readonly #messages = new Uint32Array(MAX_CALLS * MESSAGE_WORDS);
  readonly #messagesAt: MemoryAddress;
  readonly #vectorsAt: MemoryAddress;
  readonly #results = new Int32Array(MAX_CALLS);
  /** Places in `#ring`, in words. */
  readonly #submissionTail: number;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completions: number;
  readonly #submissionMask: number;
  readonly #completionMask: number;

  /** Throws where the kernel does not have it, or does not allow it: Docker's default seccomp profile, `kernel.io_uring_disabled`. It stays open. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.vectors = new IoVectors(libc, MAX_VECTORS);
    this.#vectorsAt = addressOf(libc, this.vectors.words);
    this.#messagesAt = addressOf(libc, this.#messages);
    const params = new Uint32Array(PARAMS_WORDS);
    params[FLAGS_WORD] = SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN | SETUP_SINGLE_ISSUER;
    this.#fd = libc.io_uring_setup(MAX_CALLS, libc.addressOf(params));
    if (this.#fd < 0) throw libc.failure("io_uring_setup");
    const [submissions = 0, completions = 0] = params;
    // In bytes: `io_sqring_offsets` (head, tail, mask, entries, flags, dropped, array), `io_cqring_offsets` (head, tail, mask, entries, overflow, cqes).
    const [, submissionTail = 0, , , , , array = 0] = params.subarray(SUBMISSION_OFFSETS_WORD);
    const [completionHead = 0, completionTail = 0, , , , entries = 0] = params.subarray(COMPLETION_OFFSETS_WORD);
    const bytes = Math.max(array + submissions * 4, entries + completions * COMPLETION_WORDS * 4);
    this.#ring = this.#map(bytes, RING_OFFSET);
    this.#calls = this.#map(submissions * CALL_WORDS * 4, CALLS_OFFSET);
    // The array names the calls in the order of their submission: always the same.
    for (let index = 0; index < submissions; index++) this.#ring[array / 4 + index] = index;
    this.#submissionTail = submissionTail / 4;
    this.#submissionMask = submissions - 1;
    this.#completionHead = completionHead / 4;
    this.#completionTail = completionTail / 4;
    this.#completionMask = completions - 1;
    this.#completions = entries / 4;
  }

  #map(bytes: number, offset: bigint): Uint32Array {
    const address: Pointer = this.#libc.mmap(0n, BigInt(bytes), PROTECTION, MAP_FLAGS, this.#fd, offset);
    if (address === MAP_FAILED) {
      const failure = this.#libc.failure("mmap");
      this.close();
      throw failure;
    }
    return new Uint32Array(this.#libc.memoryAt(address, bytes));
  }

  /** For one that is not used. What was mapped stays, as arrays refer to it. */
  close(): void {
    this.#libc.close(this.#fd);
  }

  /** Whether another call fits, with so many vectors. */
  hasPlace(vectors: number): boolean {
    return this.isUsable && this.count < MAX_CALLS && this.nextVector + vectors <= MAX_VECTORS;
  }

  /** Adds a receive of up to `length` bytes to offset `at` of `memory`. Its place among the results is `count` before it. */
  receive(fd: number, memory: MemoryAddress, at: number, length: number): void {
    const calls = this.#calls;
    const call = this.#add(OP_RECV, fd, MSG_DONTWAIT);
    writeAddress(calls, call + 4, memory, at);
    calls[call + 6] = length;
  }

  /** Adds a send of `count` vectors, which the caller has set from `nextVector` on. Returns its place among the results. */
  send(fd: number, count: number): number {
    const calls = this.#calls;
    const place = this.count;
    if (count === 1) {
      const call = this.#add(OP_SEND, fd, MSG_DONTWAIT | MSG_NOSIGNAL);
      const { words } = this.vectors;
      const vector = this.nextVector * 4;
      calls[call + 4] = words[vector] as number;
      calls[call + 5] = words[vector + 1] as number;
      calls[call + 6] = words[vector + 2] as number;
    } else {
      const message = place * MESSAGE_WORDS;
      writeAddress(this.#messages, message + 4, this.#vectorsAt, this.nextVector * 16);
      this.#messages[message + 6] = count;
      const call = this.#add(OP_SENDMSG, fd, MSG_DONTWAIT | MSG_NOSIGNAL);
      writeAddress(calls, call + 4, this.#messagesAt, message * 4);
      calls[call + 6] = 1;
    }
    this.nextVector += count;
    return place;
  }

  /** Makes the calls that were added, and returns how many they were. Their results are valid until the next submission. */
  submit(): number {
    const { count } = this;
    this.count = 0;
    this.nextVector = 0;
    this.#results.fill(-EINTR, 0, count);
    const submitted = Math.max(this.#libc.io_uring_enter(this.#fd, count, 0, 0), 0);
    if (submitted < count) {
      // The kernel has no memory for the others. They are taken back.
      this.isUsable = false;
      const ring = this.#ring;
      ring[this.#submissionTail] = (ring[this.#submissionTail] as number) - (count - submitted);
    }
    let missing = submitted - this.#takeCompletions();
    while (missing > 0) {
      const waited = this.#libc.io_uring_enter(this.#fd, 0, missing, ENTER_GETEVENTS);
      // The kernel may still use the memory of these calls, so nothing can go on.
      if (waited < 0 && this.#libc.errno() !== EINTR) throw this.#libc.failure("io_uring_enter");
      missing -= this.#takeCompletions();
    }
    return count;
  }

  /** What the call returned: bytes, or a negative error number. EINTR also of one that was not made. */
  resultOf(place: number): number {
    return this.#results[place] as number;
  }

  #add(operation: number, fd: number, flags: number): number {
    const ring = this.#ring;
    const calls = this.#calls;
    const tail = ring[this.#submissionTail] as number;
    const call = (tail & this.#submissionMask) * CALL_WORDS;
    calls[call] = operation;
    calls[call + 1] = fd;
    calls[call + 7] = flags;
    calls[call + 8] = this.count++;
    ring[this.#submissionTail] = tail + 1;
    return call;
  }

  #takeCompletions(): number {
    const ring = this.#ring;
    const tail = ring[this.#completionTail] as number;
    let head = ring[this.#completionHead] as number;
    const count = (tail - head) >>> 0;
    for (let left = count; left > 0; left--, head++) {
      const completion = this.#completions + (head & this.#completionMask) * COMPLETION_WORDS;
      this.#results[ring[completion] as number] = ring[completion + 2] as number;
    }
    ring[this.#completionHead] = head;
    return count;
  }
}
