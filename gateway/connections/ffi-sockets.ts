import type { Duplex } from "node:stream";
import { BodyMove } from "./body-move.ts";
import { Epoll, EPOLLOUT } from "./epoll.ts";
import { FfiSocket, NOT_RECEIVED, type SocketIo } from "./ffi-socket.ts";
import { Fifo, addressOf, IoVectors, PieceMemory } from "./unsent-bytes.ts";
import type { IoUring } from "./io-uring.ts";
import { EAGAIN, EINTR, type Libc } from "./libc.ts";
import {
  type AdoptOptions,
  MAX_BACKLOG,
  NO_SOCKET,
  type SocketEvents,
  type SocketId,
  type SocketLayer,
  type SocketLayerOptions,
  SlotTable,
  unreadDescriptorOf,
} from "./socket-layer.ts";
import { MAX_TURN_BYTES, TurnMemory } from "./turn-memory.ts";

/** Beyond it, sockets wait for the next turn, which comes after timers. */
const MAX_TURN_SOCKETS = 256;
/** Up to this size, copying bytes costs less than a system call of their own. */
const SMALL_BYTES = 16_384;
/** Ranges of this size leave at once, while the processor's cache has them. */
const LONG_BYTES = 65_536;

/** Each has a pipe, of two descriptors. Beyond it, bodies are read. */
const MAX_MOVES = 128;

/** With fewer calls, io_uring costs as much as it saves. */
const FEWEST_CALLS = 3;

const F_DUPFD_CLOEXEC = 1030;

/** The system calls of a layer. With a ring, those of several sockets are made at once, of `fewestCalls` or more. */
export type FfiCalls = { libc: Libc; ring: IoUring | undefined; fewestCalls?: number };

/**
 * Sockets over epoll, readv and writev, which `node:ffi` calls, and over io_uring where the kernel allows it. One turn reads each ready socket once; then
 * everything that was sent leaves, in one call per socket, or in one for all. It has a descriptor and keeps the process running only while sockets are open.
 */
export class FfiSockets implements SocketLayer {
  readonly name = "ffi";
  readonly memory: Buffer;
  readonly #libc: Libc;
  readonly #events: SocketEvents;
  readonly #turnMemory: TurnMemory;
  readonly #io: SocketIo;
  #epoll: Epoll | undefined;
  readonly #sockets = new SlotTable<FfiSocket>();
  readonly #ready = new Fifo<FfiSocket>();
  readonly #dirty: FfiSocket[] = [];
  #dirtyCount = 0;
  /** `onClose` is due. */
  readonly #closed = new Fifo<FfiSocket>();
  readonly #fewestCalls: number;
  /** Sockets that have received in this turn, ahead of their `onBytes`. */
  readonly #received: FfiSocket[] = [];
  #receivedCount = 0;
  #moves = 0;
  #inTurn = false;
  #flushDue = false;
  #immediate: NodeJS.Immediate | undefined;

  constructor({ libc, ring, fewestCalls = FEWEST_CALLS }: FfiCalls, events: SocketEvents, { poison }: SocketLayerOptions) {
    this.#libc = libc;
    this.#fewestCalls = fewestCalls;
    this.#events = events;
    this.#turnMemory = new TurnMemory(poison);
    const memory = this.#turnMemory.bytes;
    this.memory = memory;
    this.#io = { libc, ring, memory, address: addressOf(libc, memory), vectors: new IoVectors(libc), pieces: new PieceMemory(libc) };
  }

  adopt(stream: Duplex, { readToEnd, asStream = false }: AdoptOptions): SocketId {
    const fd = asStream ? undefined : unreadDescriptorOf(stream);
    if (fd === undefined) return NO_SOCKET;
    const epoll = this.#openEpoll();
    const own = epoll === undefined ? -1 : this.#libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (epoll === undefined || own < 0) {
      this.#schedule();
      return NO_SOCKET;
    }
    const id = this.#sockets.nextId();
    if (!epoll.add(own, id)) {
      this.#libc.close(own);
      this.#schedule();
      return NO_SOCKET;
    }
    this.#sockets.add(new FfiSocket(id, own, { readToEnd, pieces: this.#io.pieces }));
    this.#schedule();
    // This closes Node's descriptor only.
    stream.on("error", () => undefined);
    stream.destroy();
    return id;
  }

  resume(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    socket.paused = false;
    if (socket.readable) this.#addReady(socket);
  }

  pause(id: SocketId): void {
    const socket = this.#find(id);
    if (socket !== undefined) socket.paused = true;
  }

  send(id: SocketId, memory: Buffer, at: number, end: number): boolean {
    const socket = this.#find(id);
    if (socket === undefined || socket.drops) return true;
    const length = end - at;
    if (memory === this.memory) {
      socket.addRange(this.#io, at, end);
      if (socket.rangeBytes >= LONG_BYTES) socket.flush(this.#io);
    } else if (length <= SMALL_BYTES) {
      const placed = this.place(id, length);
      memory.copy(this.memory, placed, at, end);
      return this.placed(id, length);
    } else socket.write(this.#io, memory, at, end);
    return this.#sent(socket);
  }

  sendOwn(id: SocketId, bytes: Buffer): boolean {
    return this.send(id, bytes, 0, bytes.length);
  }

  place(_id: SocketId, bytes: number): number {
    if (!this.#turnMemory.hasPlace(bytes)) this.#flush();
    return this.#turnMemory.placeAt;
  }

  placed(id: SocketId, bytes: number): boolean {
    const socket = this.#find(id);
    if (socket === undefined || socket.drops) return true;
    const at = this.#turnMemory.placeAt;
    socket.addRange(this.#io, at, at + bytes);
    if (socket.rangeBytes > 0) this.#turnMemory.addPlaced(bytes);
    return this.#sent(socket);
  }

  move(from: SocketId, to: SocketId, bytes: number): boolean {
    const source = this.#find(from);
    const target = this.#find(to);
    if (source === undefined || target === undefined || source === target || this.#moves >= MAX_MOVES) return false;
    if (source.received !== NOT_RECEIVED) return false;
    if (source.move !== undefined || target.mover !== undefined || target.drops) return false;
    const move = BodyMove.open(this.#libc, source, target, bytes);
    if (move === undefined) return false;
    source.beginMove(move, target);
    this.#moves++;
    if (source.readable) this.#addReady(source);
    return true;
  }

  backlog(id: SocketId): number {
    const socket = this.#find(id);
    return socket === undefined ? 0 : socket.unsentBytes + (socket.mover?.move?.backlog ?? 0);
  }

  isBroken(id: SocketId): boolean {
    return this.#find(id)?.broken ?? true;
  }

  end(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    socket.ending = true;
    this.#addDirty(socket);
  }

  close(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    socket.closing = true;
    this.#addDirty(socket);
  }

  reset(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    socket.resetting = true;
    this.close(id);
  }

  /** Undefined: it is closed, or about to be. */
  #find(id: SocketId): FfiSocket | undefined {
    const socket = this.#sockets.find(id);
    return socket === undefined || socket.closing ? undefined : socket;
  }

  /** Bytes were sent. */
  #sent(socket: FfiSocket): boolean {
    this.#addDirty(socket);
    if (socket.unsentBytes < MAX_BACKLOG) return true;
    socket.owesDrain = true;
    return false;
  }

  #addReady(socket: FfiSocket): void {
    if (socket.ready) return;
    socket.ready = true;
    this.#ready.push(socket);
    this.#immediate?.ref();
  }

  #addDirty(socket: FfiSocket): void {
    if (!socket.dirty) {
      socket.dirty = true;
      this.#dirty[this.#dirtyCount++] = socket;
    }
    if (this.#inTurn || this.#flushDue) return;
    this.#flushDue = true;
    process.nextTick(this.#flushSoon);
  }

  readonly #turn = (): void => {
    this.#immediate = undefined;
    this.#inTurn = true;
    try {
      this.#takeEvents();
      this.#reportClosed();
      this.#receiveReady();
      this.#useReady();
    } finally {
      this.#inTurn = false;
      this.#emptyMemory();
      this.#schedule();
    }
  };

  readonly #flushSoon = (): void => {
    this.#flushDue = false;
    this.#flush();
  };

  /** A handler that throws ends the turn: what is left is done in the next one. */
  #takeEvents(): void {
    const epoll = this.#epoll as Epoll;
    const count = epoll.take();
    for (let index = 0; index < count; index++) {
      // Of a closed socket: another process may still have its descriptor, so that its events go on.
      const socket = this.#find(epoll.idOf(index));
      if (socket === undefined) continue;
      const bits = epoll.bitsOf(index);
      socket.noteEvents(bits);
      if (socket.writable || (socket.readable && !socket.paused)) this.#addReady(socket);
      if ((bits & EPOLLOUT) !== 0 && socket.mover !== undefined) this.#addReady(socket.mover);
    }
  }

  #reportClosed(): void {
    for (let left = this.#closed.length; left > 0; left--) {
      const socket = this.#closed.take() as FfiSocket;
      this.#sockets.delete(socket);
      this.#events.onClose(socket.id, socket.error);
    }
  }

  /** Receives from the sockets that are ready, in one call. Those with long bodies have calls of their own, with more memory. */
  #receiveReady(): void {
    const { ring, address } = this.#io;
    const count = Math.min(this.#ready.length, MAX_TURN_SOCKETS);
    if (ring === undefined || count < this.#fewestCalls) return;
    const turnMemory = this.#turnMemory;
    for (let index = 0; index < count; index++) {
      const socket = this.#ready.at(index);
      if (!socket.mayReceive || !ring.hasPlace(0) || turnMemory.isReadFull) continue;
      this.#received[ring.count] = socket;
      socket.receivedAt = turnMemory.readAt;
      ring.receive(socket.fd, address, socket.receivedAt, socket.receiveBytes);
      turnMemory.addRead(socket.receiveBytes);
    }
    if (ring.count === 0) return;
    this.#receivedCount = ring.submit();
    for (let index = 0; index < this.#receivedCount; index++) {
      const socket = this.#received[index] as FfiSocket;
      const result = ring.resultOf(index);
      // It is read by itself when its turn comes.
      if (result !== -EAGAIN && result !== -EINTR) socket.received = result;
    }
  }

  /** What was received and not reported, e.g. since the socket was paused, is kept until it can be. */
  #keepReceived(): void {
    for (let index = 0; index < this.#receivedCount; index++) (this.#received[index] as FfiSocket).keepReceived(this.memory);
    this.#receivedCount = 0;
  }

  /** Sends everything that refers to the memory of this turn, before it is used again. */
  #emptyMemory(): void {
    this.#keepReceived();
    this.#flush();
    this.#turnMemory.forgetRead(0);
  }

  #useReady(): void {
    let bytes = 0;
    for (let left = Math.min(this.#ready.length, MAX_TURN_SOCKETS); left > 0 && bytes < MAX_TURN_BYTES; left--) {
      const socket = this.#ready.take() as FfiSocket;
      socket.ready = false;
      if (socket.closing) continue;
      if (socket.writable) this.#drain(socket);
      else if (socket.move !== undefined && socket.receiver !== undefined) bytes += this.#moveOn(socket, socket.move, socket.receiver);
      else if (socket.readable && !socket.paused) bytes += this.#read(socket);
    }
  }

  #drain(socket: FfiSocket): void {
    socket.writable = false;
    socket.drain(this.#io);
    this.#addDirty(socket);
    if (socket.writable || (socket.readable && !socket.paused)) this.#addReady(socket);
    if (socket.mover !== undefined) this.#addReady(socket.mover);
    if (!socket.owesDrain || socket.unsentBytes > 0 || socket.closing) return;
    socket.owesDrain = false;
    this.#events.onDrain(socket.id);
  }

  /** Returns how many bytes were moved. */
  #moveOn(socket: FfiSocket, move: BodyMove, receiver: FfiSocket): number {
    const wasOpen = !receiver.closing;
    if (wasOpen) receiver.flush(this.#io);
    const moved = move.step();
    const { state } = move;
    if (wasOpen && (receiver.closing || receiver.drops)) this.#addDirty(receiver);
    if (state === "moved") this.#endMove(socket);
    if (moved > 0) this.#events.onMoved(socket.id, moved);
    if (socket.closing) return moved;
    if (state === "empty") this.#readEnd(socket, move.result);
    else if (state !== "blocked" && socket.readable && !socket.paused) this.#addReady(socket);
    return moved;
  }

  #endMove(socket: FfiSocket): void {
    socket.endMove();
    this.#moves--;
  }

  /** Returns how many bytes were read. */
  #read(socket: FfiSocket): number {
    if (socket.received !== NOT_RECEIVED) return this.#useReceived(socket);
    const turnMemory = this.#turnMemory;
    if (turnMemory.isReadFull) {
      this.#emptyMemory();
      // A refused write may have closed it: its descriptor may be another connection's by now.
      if (socket.closing) return 0;
    }
    const { libc, vectors, address } = this.#io;
    const at = turnMemory.readAt;
    const space = turnMemory.readSpace;
    vectors.set(0, address, at, space);
    const length = libc.readv(socket.fd, vectors.pointer, 1);
    if (length > 0) {
      // A short read has emptied the kernel's buffer: the next bytes are a new event.
      if (length < space && !socket.hungUp) socket.readable = false;
      else this.#addReady(socket);
      socket.noteLength(length, space);
      turnMemory.addRead(length);
      this.#events.onBytes(socket.id, this.memory, at, at + length);
      if (this.#dirtyCount === 0) turnMemory.forgetRead(at);
      return length;
    }
    this.#readEnd(socket, length);
    return 0;
  }

  /** The same for a socket that has received: reports the result. */
  #useReceived(socket: FfiSocket): number {
    const { received, receivedAt, receiveBytes, kept } = socket;
    socket.received = NOT_RECEIVED;
    socket.kept = undefined;
    if (received <= 0) {
      this.#readEnd(socket, received, -received);
      return 0;
    }
    socket.noteLength(received, receiveBytes);
    // Those of an earlier turn: more may have come since.
    if (received < receiveBytes && kept === undefined && !socket.hungUp) socket.readable = false;
    else this.#addReady(socket);
    if (kept === undefined) this.#events.onBytes(socket.id, this.memory, receivedAt, receivedAt + received);
    else this.#events.onBytes(socket.id, kept, 0, received);
    return received;
  }

  #readEnd(socket: FfiSocket, result: number, errno = this.#libc.errno()): void {
    socket.readable = false;
    if (result < 0) {
      if (errno === EAGAIN) return;
      if (errno === EINTR) {
        socket.readable = true;
        return this.#addReady(socket);
      }
      socket.fail(this.#libc.failure("read", errno));
      return this.#addDirty(socket);
    }
    if (socket.remoteEnded) return;
    socket.endOfInput();
    if (socket.closing) this.#addDirty(socket);
    if (socket.error === undefined) this.#events.onEnd(socket.id);
  }

  /** Sends everything, and closes what is to be closed. No event comes from it. */
  #flush(): void {
    const { ring } = this.#io;
    if (ring !== undefined && this.#dirtyCount >= this.#fewestCalls) {
      for (let index = 0; index < this.#dirtyCount; index++) (this.#dirty[index] as FfiSocket).addSendTo(ring, this.#io);
      if (ring.count > 0) ring.submit();
    }
    for (let index = 0; index < this.#dirtyCount; index++) {
      const socket = this.#dirty[index] as FfiSocket;
      socket.dirty = false;
      socket.flush(this.#io);
      if (socket.unsentBytes >= MAX_BACKLOG) socket.owesDrain = true;
      // Refused bytes count as sent.
      if (socket.writable) this.#addReady(socket);
      if (!socket.closing) continue;
      if (socket.mover !== undefined) this.#addReady(socket.mover);
      if (socket.move !== undefined) this.#endMove(socket);
      socket.close(this.#io);
      this.#closed.push(socket);
      this.#immediate?.ref();
    }
    this.#dirtyCount = 0;
    this.#turnMemory.forgetPlaced();
  }

  /** The next turn: at the next event, or at once if something is left to do. */
  #schedule(): void {
    if (this.#sockets.size === 0) {
      this.#epoll?.close();
      this.#epoll = undefined;
      return;
    }
    if (this.#inTurn || this.#immediate !== undefined) return;
    this.#immediate = setImmediate(this.#turn);
    if (this.#ready.length === 0 && this.#closed.length === 0) this.#immediate.unref();
  }

  #openEpoll(): Epoll | undefined {
    try {
      this.#epoll ??= new Epoll(this.#libc);
    } catch {
      // No descriptor is left.
    }
    return this.#epoll;
  }
}
