import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

/**
 * A socket of a layer: a number. A closed socket's slot is used again, with another generation in the number, so a late call with the old number does
 * nothing: `pause`, `send` and so on ignore a number that is not open, and the getters return what a closed socket has.
 */
export type SocketId = number;

/** The layer cannot take this socket. */
export const NO_SOCKET: SocketId = -1;

/** Receives the events of all sockets of a layer. No event comes within a call of the layer. */
export type SocketEvents = {
  /** Bytes `at`..`end` of `memory` came. They are valid until this call returns. `memory` may be another buffer than the layer's. */
  onBytes(id: SocketId, memory: Buffer, at: number, end: number): void;
  /** So many bytes were moved: see `SocketLayer.move`. */
  onMoved(id: SocketId, bytes: number): void;
  /** The other end sends nothing more. Never before the bytes that came first, and never while the socket is paused. */
  onEnd(id: SocketId): void;
  /** The kernel has taken all queued bytes, after `send` or `placed` returned false, or after a turn left a backlog of at least `MAX_BACKLOG`. */
  onDrain(id: SocketId): void;
  /** The last event of the socket, once for each that was adopted. Its number is free afterwards. `error`: the connection broke. */
  onClose(id: SocketId, error: Error | undefined): void;
};

export type AdoptOptions = {
  /**
   * A refused write (EPIPE, ECONNRESET) is not the end: unsent and later bytes count as sent, and reading goes on until its end. A container may refuse
   * the rest of a request, respond, and close. Without it, the socket closes with the error. Streams ignore it.
   */
  readToEnd: boolean;
  /** The TCP connection under a TLS connection: only it can be reset. */
  under?: Socket | undefined;
  /** Others have read this socket, so its handle must not be taken from it. */
  asStream?: boolean;
};

/**
 * Established sockets as numbers. Accepting and connecting belong to `node:net` and `node:tls`.
 *
 * A turn is one pass of the event loop. What is sent in a turn leaves at its end, in order, in as few system calls as possible; a long range may leave at
 * once. Then the layer uses its memory again. Bytes that the kernel does not take are kept by the layer in memory of its own, and count as `backlog`.
 */
export type SocketLayer = {
  readonly name: "node" | "ffi" | "memory";
  /** Where `place` reserves. Its length and address never change. */
  readonly memory: Buffer;

  /**
   * Takes over an established socket that is not read: paused, half-open, with nothing in its stream's buffers unless it stays a stream (TLS, in memory).
   * It must not be used any more. `NO_SOCKET`: this layer cannot take it, and has not touched it. The adopted socket is paused.
   */
  adopt(socket: Duplex, options: AdoptOptions): SocketId;

  /** Long bodies are read in larger pieces, by the layer's own decision. */
  resume(id: SocketId): void;
  /** No `onBytes` and no `onEnd` until `resume`, not even for bytes that were read in this turn: the layer keeps those. */
  pause(id: SocketId): void;

  /**
   * Sends bytes `at`..`end`. The caller may change them when the event that it handles returns, or outside of an event when this call returns: the layer
   * copies what it has to. False: the backlog has reached `MAX_BACKLOG`. The sender should pause until `onDrain`, and may go on.
   */
  send(id: SocketId, memory: Buffer, at: number, end: number): boolean;
  /** The same; these bytes have no other user any more, so they need no copy. */
  sendOwn(id: SocketId, bytes: Buffer): boolean;
  /**
   * Reserves `bytes` of `memory`, at most `MAX_PLACED`, behind what this socket has sent in this turn, and returns their offset. The caller writes there
   * and calls `placed` before any other call of the layer. May be called for a closed socket too: then `placed` drops the bytes.
   */
  place(id: SocketId, bytes: number): number;
  /** Sends the first `bytes` of what was reserved. The result is that of `send`. */
  placed(id: SocketId, bytes: number): boolean;

  /**
   * From now on, the next `bytes` that come from one socket go to another, behind what was sent to it, and `onMoved` reports them instead of `onBytes`.
   * Those that come later are read again. Back-pressure is the layer's; `pause` and `resume` of `from` hold. Until then nothing else may be sent to `to`.
   * Once `to` closes, the rest is read again. False: this layer cannot do it now, and nothing has changed.
   */
  move(from: SocketId, to: SocketId, bytes: number): boolean;

  /** Bytes that the kernel has not taken. Those of this turn that it was not given yet need not count. */
  backlog(id: SocketId): number;
  /** The other end is gone, as far as the kernel knows. For sockets that are not read. */
  isBroken(id: SocketId): boolean;

  /** Sends what is queued, then the end of this direction. When both directions have ended, the socket closes by itself. May be repeated. */
  end(id: SocketId): void;
  /** Hands the bytes of this turn to the kernel, drops the rest, and closes. `onClose` follows, in a later tick. May be repeated. */
  close(id: SocketId): void;
  /** The same with a TCP reset, also under TLS. A socket without TCP is closed. */
  reset(id: SocketId): void;
};

/** A sender may go on while less waits: so the end of a stream is seen although its last bytes wait. And a stream that encrypts always has some waiting. */
export const MAX_BACKLOG = 65_536;

/** The longest reservation of `place`: a head of the largest size, and what is added to it. */
export const MAX_PLACED = 131_072;

/** In tests, memory is overwritten with it as soon as it may be used again. */
export const POISON = 0xdd;

/** What creates a layer. */
export type SocketLayerOptions = { poison: boolean };
export type OpenSocketLayer = (events: SocketEvents, options: SocketLayerOptions) => SocketLayer;

/** The low bits of a number are its slot; those above are the generation, which wraps so that numbers stay small integers. */
const SLOT_BITS = 20;

const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Numbers stay small integers, so a slot has 2,048 generations. */
const MAX_ID = 2 ** 31;

/** The slot of a number: an index below the largest number of sockets that were open at once. */
export function slotOf(id: SocketId): number {
  return id & SLOT_MASK;
}

/** The open sockets of a layer by number. A slot that is used again has another number. */
export class SlotTable<T extends { readonly id: SocketId }> {
  readonly #slots: (T | undefined)[] = [];
  readonly #free: SocketId[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The number that the next `add` should have. */
  nextId(): SocketId {
    return this.#free.at(-1) ?? this.#slots.length;
  }

  add(socket: T): void {
    this.#free.pop();
    this.#slots[socket.id & SLOT_MASK] = socket;
    this.#size++;
  }

  find(id: SocketId): T | undefined {
    const socket = this.#slots[id & SLOT_MASK];
    return socket !== undefined && socket.id === id ? socket : undefined;
  }

  delete({ id }: T): void {
    this.#slots[id & SLOT_MASK] = undefined;
    this.#free.push((id + SLOT_MASK + 1) % MAX_ID);
    this.#size--;
  }
}

type StreamHandle = { fd?: number; reset?: unknown };

/** What Node reads and writes a stream by. There is no public way to it. */
export function handleOf(stream: Duplex): StreamHandle | undefined {
  return (stream as unknown as { _handle?: StreamHandle | null })["_handle"] ?? undefined;
}

/** Undefined for streams without one of their own, such as those of TLS. */
export function descriptorOf(stream: Duplex): number | undefined {
  const descriptor = handleOf(stream)?.fd;
  return descriptor === undefined || descriptor < 0 ? undefined : descriptor;
}

/** The descriptor of an established connection that was not read. Undefined for TLS and other streams. */
export function unreadDescriptorOf(stream: Duplex): number | undefined {
  if (!(stream instanceof Socket) || stream instanceof TLSSocket || stream.connecting || stream.destroyed) return undefined;
  if (stream.readableLength > 0 || stream.readableEnded || stream.writableLength > 0 || stream.writableEnded) return undefined;
  return descriptorOf(stream);
}
