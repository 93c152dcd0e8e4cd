import { MAX_PLACED, NO_SOCKET, type SocketId, type SocketLayer } from "./socket-layer.ts";

/** So many bytes must be left for their move within the kernel: a shorter rest costs less to read. */
const MIN_MOVED_BYTES = 262_144;

/** Receives the events of a connection. */
export type ConnectionUser = {
  /** Bytes `at`..`end` of `memory` came. They are valid only during this call: send or copy them. */
  onBytes(memory: Buffer, at: number, end: number): void;
  /** So many bytes were moved on: see `NetConnection.moveTo`. Absent: the user moves none. */
  onMoved?(bytes: number): void;
  /** The other end sends nothing more. */
  onEnd(): void;
  /** The queued bytes were sent: more may follow. */
  onDrain(): void;
  /** The last event; `error` if the connection broke. */
  onClose(error: Error | undefined): void;
};

/** Until the next user takes the connection. */
export const NO_USER: ConnectionUser = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/** An established connection with one user at a time. Each direction may end by itself. */
export class NetConnection {
  user: ConnectionUser = NO_USER;
  /** Empty if it is not known; without `::ffff:`. */
  readonly remoteAddress: string;
  readonly tls: boolean;
  readonly #layer: SocketLayer;
  #id: SocketId = NO_SOCKET;
  #alive = true;
  #closed = false;
  #ended = false;
  #paused = true;
  #sent = 0;
  #reserved = 0;
  /** Most connections have one. */
  #closeListener: (() => void) | undefined;
  #moreListeners: (() => void)[] | undefined;

  /** Reads nothing before `resume`. */
  constructor(layer: SocketLayer, { id, remoteAddress, tls }: { id: SocketId; remoteAddress: string; tls: boolean }) {
    this.#layer = layer;
    this.#id = id;
    this.remoteAddress = remoteAddress;
    this.tls = tls;
  }

  /** False after `destroy` and `reset`, and after `onClose`. */
  get alive(): boolean {
    return this.#alive;
  }

  /** `onClose` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** False: nothing more can be sent. */
  get writable(): boolean {
    return this.#alive && !this.#ended;
  }

  /** `end` was called. */
  get ended(): boolean {
    return this.#ended;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Bytes that were sent or queued. Moved ones do not count: see `moveTo`. */
  get bytesSent(): number {
    return this.#sent;
  }

  /** Bytes that the other end has not taken yet. */
  get backlog(): number {
    return this.#layer.backlog(this.#id);
  }

  /** Where `place` reserves. */
  get memory(): Buffer {
    return this.#layer.memory;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#layer.resume(this.#id);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#layer.pause(this.#id);
  }

  /** Calls `act` after `onClose`. */
  onceClosed(act: () => void): void {
    if (this.#closeListener === undefined) this.#closeListener = act;
    else (this.#moreListeners ??= []).push(act);
  }

  /**
   * Sends bytes `at`..`end`, which the caller may change when the event that it handles returns, or outside of an event when this call returns. False:
   * they are queued, so the sender must pause until `onDrain`.
   */
  send(memory: Buffer, at: number, end: number): boolean {
    if (!this.#alive || this.#ended) return true;
    this.#sent += end - at;
    return this.#layer.send(this.#id, memory, at, end);
  }

  /** Sends bytes that the caller gives away. */
  sendOwn(bytes: Buffer): boolean {
    if (!this.#alive || this.#ended) return true;
    this.#sent += bytes.length;
    return this.#layer.sendOwn(this.#id, bytes);
  }

  sendText(latin1: string): boolean {
    const { length } = latin1;
    if (!this.#alive || this.#ended) return true;
    if (length > MAX_PLACED) return this.sendOwn(Buffer.from(latin1, "latin1"));
    this.#sent += length;
    this.#layer.memory.write(latin1, this.#layer.place(this.#id, length), "latin1");
    return this.#layer.placed(this.#id, length);
  }

  /** Reserves memory behind what is queued in this turn, and returns its offset in `memory`. Write there, then call `placed` before anything else. */
  place(bytes: number): number {
    this.#reserved = bytes;
    return this.#layer.place(this.#id, bytes);
  }

  /** Sends the first `bytes` of the reserved memory. False: see `send`. */
  placed(bytes: number): boolean {
    if (bytes > this.#reserved) throw new Error("More bytes were placed than reserved");
    const sends = this.#alive && !this.#ended;
    if (sends) this.#sent += bytes;
    return this.#layer.placed(this.#id, sends ? bytes : 0);
  }

  /**
   * Moves the next `bytes` that come to another connection, to which nothing else may be sent until then. `onMoved` reports them instead of `onBytes`.
   * False: they cannot be moved now or are too few, and come as usual.
   */
  moveTo(to: NetConnection, bytes: number): boolean {
    if (bytes < MIN_MOVED_BYTES || this.#layer !== to.#layer || !this.#alive || !to.writable) return false;
    return this.#layer.move(this.#id, to.#id, bytes);
  }

  /** Sends what is queued, and nothing more. */
  end(): void {
    if (this.#ended || !this.#alive) return;
    this.#ended = true;
    this.#layer.end(this.#id);
  }

  destroy(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#layer.close(this.#id);
  }

  /** Ends so that the other side knows that data is missing. */
  reset(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#layer.reset(this.#id);
  }

  /** The other end has closed, as far as the kernel knows. For connections that are not read. */
  isBroken(): boolean {
    return this.#layer.isBroken(this.#id);
  }

  /** Called by the owner of the layer, once. */
  close(error: Error | undefined): void {
    this.#alive = false;
    this.#closed = true;
    const last = this.user;
    this.user = NO_USER;
    last.onClose(error);
    const first = this.#closeListener;
    const others = this.#moreListeners;
    this.#closeListener = undefined;
    this.#moreListeners = undefined;
    first?.();
    if (others !== undefined) for (const act of others) act();
  }
}
