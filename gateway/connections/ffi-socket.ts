import { type MemoryAddress, addressOf, IoVectors, type PieceMemory, UnsentBytes } from "./unsent-bytes.ts";
import type { BodyMove } from "./body-move.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "./epoll.ts";
import type { IoUring } from "./io-uring.ts";
import { EAGAIN, EINTR, type Libc } from "./libc.ts";

/** What all sockets of a layer write with. */
export type SocketIo = {
  readonly libc: Libc;
  /** Undefined: each call is made by itself. */
  readonly ring: IoUring | undefined;
  readonly vectors: IoVectors;
  /** Ranges refer to this memory. */
  readonly memory: Buffer;
  readonly address: MemoryAddress;
  readonly pieces: PieceMemory;
};

const SHUT_WR = 1;
const SOL_SOCKET = 1;
/** The option by which a close resets the connection, and its value: on, 0 seconds (socket(7)). */
const RESET_OPTION = 13;
const RESET_VALUE = new Int32Array([1, 0]);
/** Of `received`: everything that was received is reported. */
export const NOT_RECEIVED = -0x8000_0000;
const NO_CALL = -1;
/**
 * Memory of a receive among many: enough for most heads and messages, and for one of 16 KiB with its head. No powers of two, so that they do not all share
 * the same lines of a cache.
 */
const SHORT_RECEIVE = 4_096 + 192;
const LONG_RECEIVE = 16_384 + 192;

/** One open socket: what it has to send, and what is known about it. The layer reads it. */
export class FfiSocket {
  readonly id: number;
  readonly fd: number;
  readonly readToEnd: boolean;
  paused = true;
  /** The kernel may have bytes, an end or an error. */
  readable = false;
  /** What a receive among many returned that is not yet reported: how many bytes, 0 at the end, or a negative error number. */
  received = NOT_RECEIVED;
  /** Where these bytes are in the layer's memory, until it is used again. */
  receivedAt = 0;
  /** A copy of these bytes, from then on. */
  kept: Buffer | undefined;
  /** Memory that its next receive among many gets, by the length of the last one; 0: it reads in a call of its own, with more memory. */
  receiveBytes = SHORT_RECEIVE;
  /** An end or an error follows the bytes, and no event announces it: read until then. */
  hungUp = false;
  /** The other end is gone. */
  broken = false;
  remoteEnded = false;
  /** The kernel takes bytes again, or `onDrain` is due. */
  writable = false;
  owesDrain = false;
  ending = false;
  /** It is closed at the end of the turn, and no event but `onClose` comes. */
  closing = false;
  resetting = false;
  /** What `onClose` reports. */
  error: Error | undefined;
  /** In the layer's list of sockets to be read. */
  ready = false;
  /** In the layer's list of sockets to be flushed. */
  dirty = false;
  /** What it receives is moved to the receiver. */
  #move: BodyMove | undefined;
  #receiver: FfiSocket | undefined;
  /** The socket whose bytes are moved to this one. */
  #mover: FfiSocket | undefined;
  /** Bytes in ranges of the layer's memory. While there are any, none are unsent. */
  rangeBytes = 0;
  /** The first range. Most turns have no other, so that a socket needs no list. */
  #at = 0;
  #end = 0;
  /** The others, in pairs. */
  #more: number[] | undefined;
  #rangeCount = 0;
  /** While the ring sends its ranges: the place of that call among the results. */
  #call = NO_CALL;
  /** Created when the kernel does not take everything. */
  #unsent: UnsentBytes | undefined;
  readonly #pieces: PieceMemory;
  #shut = false;
  #refusal: Error | undefined;

  constructor(id: number, fd: number, { readToEnd, pieces }: { readToEnd: boolean; pieces: PieceMemory }) {
    this.id = id;
    this.fd = fd;
    this.readToEnd = readToEnd;
    this.#pieces = pieces;
  }

  /** It may have a receive among many. */
  get mayReceive(): boolean {
    return (
      this.readable &&
      !this.paused &&
      this.receiveBytes > 0 &&
      !this.writable &&
      !this.closing &&
      this.#move === undefined &&
      this.received === NOT_RECEIVED
    );
  }

  /** Its last read had so many bytes, of `space`. */
  noteLength(bytes: number, space: number): void {
    this.receiveBytes = bytes < SHORT_RECEIVE ? SHORT_RECEIVE : bytes < LONG_RECEIVE && bytes < space ? LONG_RECEIVE : 0;
  }

  /** The layer's memory is about to be used again. Only bytes and errors are kept: the end is received again, as an error may have come behind it. */
  keepReceived(memory: Buffer): void {
    const { received, receivedAt } = this;
    if (received === 0) this.received = NOT_RECEIVED;
    if (received <= 0 || this.closing) return;
    // Not of Node's pool: a short rest would keep a whole part of it.
    this.kept = Buffer.allocUnsafeSlow(received);
    memory.copy(this.kept, 0, receivedAt, receivedAt + received);
  }

  /** Bytes that the kernel has not taken. */
  get unsentBytes(): number {
    return this.#unsent === undefined ? 0 : this.#unsent.length;
  }

  get move(): BodyMove | undefined {
    return this.#move;
  }

  get receiver(): FfiSocket | undefined {
    return this.#receiver;
  }

  get mover(): FfiSocket | undefined {
    return this.#mover;
  }

  beginMove(move: BodyMove, receiver: FfiSocket): void {
    this.#move = move;
    this.#receiver = receiver;
    receiver.#mover = this;
  }

  endMove(): void {
    this.#move?.close();
    this.#move = undefined;
    if (this.#receiver !== undefined) this.#receiver.#mover = undefined;
    this.#receiver = undefined;
  }

  /** Bytes are dropped: they count as sent. */
  get drops(): boolean {
    return this.ending || this.#refusal !== undefined;
  }

  /** The kernel reports that this happened: bits of `epoll.ts`. */
  noteEvents(bits: number): void {
    if ((bits & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.hungUp = true;
    if ((bits & (EPOLLHUP | EPOLLERR)) !== 0) this.broken = true;
    if ((bits & EPOLLOUT) !== 0 && this.unsentBytes > 0) this.writable = true;
    if ((bits & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0 && (!this.remoteEnded || (bits & EPOLLERR) !== 0)) this.readable = true;
  }

  /** Sends a range of the layer's memory when it is flushed. */
  addRange(io: SocketIo, at: number, end: number): void {
    if (this.#rangeCount === IoVectors.MAX) this.flush(io);
    if (this.unsentBytes > 0) return this.#keepUnsent(io.memory, at, end);
    this.rangeBytes += end - at;
    const count = this.#rangeCount;
    if (count === 0) {
      this.#at = at;
      this.#end = end;
    } else if (this.#endOf(count - 1) === at) {
      this.#setEnd(count - 1, end);
      return;
    } else {
      this.#more ??= [];
      this.#more[count * 2 - 2] = at;
      this.#more[count * 2 - 1] = end;
    }
    this.#rangeCount++;
  }

  /** Sends bytes of other memory now; what the kernel does not take is copied. */
  write(io: SocketIo, memory: Buffer, at: number, end: number): void {
    this.flush(io);
    if (this.drops || this.closing) return;
    let sent = 0;
    if (this.unsentBytes === 0) {
      io.vectors.set(0, addressOf(io.libc, memory), at, end - at);
      sent = this.#writev(io, 1);
      if (sent < 0) return;
    }
    if (at + sent < end) this.#keepUnsent(memory, at + sent, end);
  }

  /** Adds its ranges to what the ring sends, if they fit. `flush` follows, and uses the result. */
  addSendTo(ring: IoUring, { address }: SocketIo): void {
    const count = this.#rangeCount;
    if (count === 0 || !ring.hasPlace(count)) return;
    this.#fill(ring.vectors, ring.nextVector, address);
    this.#call = ring.send(this.fd, count);
  }

  /** Hands the ranges to the kernel, then the end if it is due. What the kernel does not take is copied. */
  flush(io: SocketIo): void {
    const count = this.#rangeCount;
    if (count > 0) {
      const total = this.rangeBytes;
      this.#rangeCount = 0;
      this.rangeBytes = 0;
      const sent = this.#call === NO_CALL ? this.#writeRanges(io, count) : this.#takeResult(io, count);
      if (sent < 0) return;
      if (sent < total) this.#copyUnsent(io, count, sent);
    }
    if (this.ending && !this.#shut && this.unsentBytes === 0) this.#shutdown(io);
  }

  /** Hands the unsent bytes to the kernel, which takes bytes again. */
  drain(io: SocketIo): void {
    const unsent = this.#unsent;
    if (unsent === undefined || unsent.length === 0) return;
    const count = unsent.fill(io.vectors);
    const sent = this.#writev(io, count);
    if (sent <= 0) return;
    // Without a short write, no event follows.
    this.writable = unsent.taken(sent) === count && unsent.length > 0;
    if (unsent.length === 0) this.flush(io);
  }

  /** The end was received, or an error instead of it. */
  endOfInput(): void {
    this.remoteEnded = true;
    // The refused write consumed the error of a reset, so the kernel reports an ordinary end.
    if (this.#refusal !== undefined) this.fail(this.#refusal);
    else if (this.#shut) this.closing = true;
  }

  /** The kernel takes nothing more: see `AdoptOptions.readToEnd`. */
  refuse(error: Error): void {
    this.#unsent?.clear();
    if (this.readToEnd) {
      this.#refusal ??= error;
      this.writable = true;
    } else this.fail(error);
  }

  fail(error: Error): void {
    this.closing = true;
    this.error ??= error;
  }

  close(io: SocketIo): void {
    this.#unsent?.clear();
    if (this.resetting) io.libc.setsockopt(this.fd, SOL_SOCKET, RESET_OPTION, io.libc.addressOf(RESET_VALUE), RESET_VALUE.byteLength);
    io.libc.close(this.fd);
  }

  #fill(vectors: IoVectors, first: number, address: MemoryAddress, count = this.#rangeCount): void {
    for (let index = 0; index < count; index++) {
      const at = this.#startOf(index);
      vectors.set(first + index, address, at, this.#endOf(index) - at);
    }
  }

  /** Writes the ranges in a call of their own. Returns the number of bytes that the kernel took, or -1 if it refuses all. */
  #writeRanges(io: SocketIo, count: number): number {
    this.#fill(io.vectors, 0, io.address, count);
    return this.#writev(io, count);
  }

  /** The same of what the ring has sent. */
  #takeResult(io: SocketIo, count: number): number {
    const result = (io.ring as IoUring).resultOf(this.#call);
    this.#call = NO_CALL;
    if (result >= 0) return result;
    if (result === -EAGAIN) return 0;
    if (result === -EINTR) return this.#writeRanges(io, count);
    this.refuse(io.libc.failure("write", -result));
    return -1;
  }

  #startOf(range: number): number {
    return range === 0 ? this.#at : (this.#more?.[range * 2 - 2] as number);
  }

  #endOf(range: number): number {
    return range === 0 ? this.#end : (this.#more?.[range * 2 - 1] as number);
  }

  #setEnd(range: number, end: number): void {
    if (range === 0) this.#end = end;
    else if (this.#more !== undefined) this.#more[range * 2 - 1] = end;
  }

  #keepUnsent(memory: Buffer, at: number, end: number): void {
    this.#unsent ??= new UnsentBytes(this.#pieces);
    this.#unsent.push(memory, at, end);
  }

  #copyUnsent(io: SocketIo, count: number, sent: number): void {
    let skip = sent;
    for (let index = 0; index < count; index++) {
      const at = this.#startOf(index);
      const end = this.#endOf(index);
      const from = Math.min(end, at + skip);
      skip -= from - at;
      if (from < end) this.#keepUnsent(io.memory, from, end);
    }
  }

  #shutdown({ libc }: SocketIo): void {
    this.#shut = true;
    libc.shutdown(this.fd, SHUT_WR);
    if (this.remoteEnded) this.closing = true;
  }

  /** The number of bytes that the kernel took, or -1 if it refuses all. */
  #writev(io: SocketIo, count: number): number {
    for (;;) {
      const sent = io.libc.writev(this.fd, io.vectors.pointer, count);
      if (sent >= 0) return sent;
      const errno = io.libc.errno();
      if (errno === EAGAIN) return 0;
      if (errno !== EINTR) break;
    }
    this.refuse(io.libc.failure("write"));
    return -1;
  }
}
