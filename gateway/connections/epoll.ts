import { arch } from "node:process";
import type { Libc, Pointer } from "./libc.ts";

/** Bits of an event (epoll_ctl(2)). */
export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
const EPOLLET = 0x8000_0000;

const EPOLL_CLOEXEC = 0x8_0000;
const EPOLL_CTL_ADD = 1;
const UV_POLL = 8;
const UV_READABLE = 1;

/** In words of 4 bytes. The kernel packs `struct epoll_event` on x64 only. */
const EVENT_WORDS = arch === "x64" ? 3 : 4;
const DATA_WORD = arch === "x64" ? 1 : 2;

/** Events of one turn. Sockets with others have them in the next turn. */
const MAX_EVENTS = 256;

/**
 * Edge-triggered events of sockets, in the event loop of Node. libuv polls the epoll descriptor and calls libc's `time(handle)`, which stores the time in
 * the first field of the handle, `void *data`. So an event of the descriptor sets a number in memory, and no JavaScript runs within libuv's call: an
 * exception could not leave it.
 */
export class Epoll {
  readonly #libc: Libc;
  readonly #epoll: number;
  readonly #handle: BigUint64Array;
  readonly #handleAt: Pointer;
  /** The handle's `data`. */
  readonly #signal: Int32Array;
  readonly #setSignal: Pointer;
  readonly #events = new Int32Array(MAX_EVENTS * EVENT_WORDS);
  readonly #eventsAt: Pointer;

  /** Throws what failed. The caller must keep this object reachable until `close`. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.#eventsAt = libc.addressOf(this.#events);
    this.#handle = new BigUint64Array(Number(libc.uv_handle_size(UV_POLL)) / 8);
    this.#handleAt = libc.addressOf(this.#handle);
    this.#signal = new Int32Array(this.#handle.buffer, 0, 1);
    this.#setSignal = libc.symbol("time");
    this.#epoll = libc.epoll_create1(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw libc.failure("epoll_create1");
    const code = libc.uv_poll_init(libc.loop, this.#handleAt, this.#epoll) || libc.uv_poll_start(this.#handleAt, UV_READABLE, this.#setSignal);
    if (code === 0) return;
    libc.close(this.#epoll);
    throw new Error(`uv_poll_start failed with ${code}`);
  }

  /** Begins to report events of `fd` as those of `id`. False: the kernel refuses. */
  add(fd: number, id: number): boolean {
    const events = this.#events;
    events[0] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    events[DATA_WORD] = id;
    events[DATA_WORD + 1] = 0;
    return this.#libc.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#eventsAt) === 0;
  }

  /** The number of events since the last call. Without any it costs no system call. */
  take(): number {
    if (this.#signal[0] === 0) return 0;
    this.#signal[0] = 0;
    const count = this.#libc.epoll_wait(this.#epoll, this.#eventsAt, MAX_EVENTS, 0);
    return count < 0 ? 0 : count;
  }

  /** Of the last `take`: which socket. */
  idOf(index: number): number {
    return this.#events[index * EVENT_WORDS + DATA_WORD] as number;
  }

  /** What happened to it. */
  bitsOf(index: number): number {
    return this.#events[index * EVENT_WORDS] as number;
  }

  close(): void {
    const signal = this.#signal;
    signal[0] = 0;
    this.#libc.uv_close(this.#handleAt, this.#setSignal);
    this.#libc.close(this.#epoll);
    // libuv uses the handle until it calls back, at the end of this pass of the loop. A pending immediate keeps its memory reachable.
    const awaitCallback = () => {
      if (signal[0] === 0) setImmediate(awaitCallback);
    };
    setImmediate(awaitCallback);
  }
}
