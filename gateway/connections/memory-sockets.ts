import {
  MAX_BACKLOG,
  MAX_PLACED,
  NO_SOCKET,
  POISON,
  type SocketEvents,
  type SocketId,
  type SocketLayer,
  type SocketLayerOptions,
  SlotTable,
} from "./socket-layer.ts";

/** The other end of a socket in memory. */
export type MemoryPeer = {
  /** Bytes `at`..`end` were sent. They are valid during this call: what is kept beyond it must be copied, and counts as backlog until `MemorySocket.taken`. */
  onBytes(memory: Buffer, at: number, end: number): void;
  /** Nothing more is sent, and the backlog is empty. */
  onEnd(): void;
  /** What was delivered is read: more may follow. */
  onRead(): void;
  /** The socket was closed by its owner; not after `MemorySocket.close`. */
  onClose(): void;
};

/** Like the buffers of a socket in the kernel: the peer should wait while more was delivered and not read. */
const UNREAD_BYTES = 65_536;

/** Most heads are shorter. */
const INBOX_BYTES = 16_384;

/** One end of a connection within the process. The layer calls what is not marked as the peer's. */
export class MemorySocket {
  readonly id: SocketId;
  paused = true;
  closing = false;
  ending = false;
  owesDrain = false;
  backlog = 0;
  readonly peer: MemoryPeer;
  readonly #layer: MemorySockets;
  readonly #unread: Buffer[] = [];
  #unreadBytes = 0;
  #owesRead = false;
  #owesEnd = false;

  constructor(id: SocketId, peer: MemoryPeer, layer: MemorySockets) {
    this.id = id;
    this.peer = peer;
    this.#layer = layer;
  }

  /** The peer sends bytes, and gives them away. False: it should wait for `onRead`. */
  deliver(bytes: Buffer): boolean {
    if (this.closing) return true;
    if (!this.paused && this.#unread.length === 0) {
      this.#layer.read(this.id, bytes);
      return true;
    }
    this.#unread.push(bytes);
    this.#unreadBytes += bytes.length;
    this.#owesRead = this.#unreadBytes >= UNREAD_BYTES;
    return !this.#owesRead;
  }

  /** The same for text in latin1. */
  deliverText(text: string): boolean {
    const isRead = !this.closing && !this.paused && this.#unread.length === 0 && this.#layer.readText(this.id, text);
    return isRead || this.deliver(Buffer.from(text, "latin1"));
  }

  /** The peer sends nothing more. */
  deliverEnd(): void {
    this.#owesEnd = true;
    this.readOn();
  }

  /** The peer keeps bytes that were sent. */
  kept(bytes: number): void {
    this.backlog += bytes;
  }

  /** The peer has passed on bytes that it kept. */
  taken(bytes: number): void {
    this.backlog -= bytes;
    if (this.backlog > 0 || this.closing) return;
    if (this.ending) return this.peer.onEnd();
    if (!this.owesDrain) return;
    this.owesDrain = false;
    this.#layer.events.onDrain(this.id);
  }

  /** The peer closes the connection. May be repeated. */
  close(): void {
    this.#layer.closed(this);
  }

  get hasUnread(): boolean {
    return this.#unread.length > 0 || this.#owesEnd;
  }

  /** What was delivered while the socket was paused. */
  readOn(): void {
    while (!this.paused && !this.closing) {
      const bytes = this.#unread.shift();
      if (bytes === undefined) break;
      this.#unreadBytes -= bytes.length;
      this.#layer.read(this.id, bytes);
    }
    if (this.paused || this.closing) return;
    if (this.#owesRead) {
      this.#owesRead = false;
      this.peer.onRead();
    }
    if (!this.#owesEnd || this.#unread.length > 0 || this.closing) return;
    this.#owesEnd = false;
    this.#layer.events.onEnd(this.id);
  }

  forgetUnread(): void {
    this.#unread.length = 0;
    this.#unreadBytes = 0;
    this.#owesEnd = false;
  }
}

/**
 * Sockets without a kernel's connection: each leads to a peer in this process, which gets what is sent at once. A stream of Node, with a layer for streams
 * above it, costs as much as the rest of a request.
 */
export class MemorySockets implements SocketLayer {
  readonly name = "memory";
  readonly memory = Buffer.allocUnsafeSlow(MAX_PLACED);
  readonly events: SocketEvents;
  readonly #sockets = new SlotTable<MemorySocket>();
  readonly #poison: boolean;
  /** Undefined while its bytes are read. */
  #inbox: Buffer | undefined = Buffer.allocUnsafeSlow(INBOX_BYTES);

  constructor(events: SocketEvents, { poison }: SocketLayerOptions) {
    this.events = events;
    this.#poison = poison;
  }

  /** Opens a socket, which is paused. */
  open(peer: MemoryPeer): MemorySocket {
    const socket = new MemorySocket(this.#sockets.nextId(), peer, this);
    this.#sockets.add(socket);
    return socket;
  }

  /** It has none of others. */
  adopt(): SocketId {
    return NO_SOCKET;
  }

  resume(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    socket.paused = false;
    if (socket.hasUnread) process.nextTick(() => socket.readOn());
  }

  pause(id: SocketId): void {
    const socket = this.#find(id);
    if (socket !== undefined) socket.paused = true;
  }

  send(id: SocketId, memory: Buffer, at: number, end: number): boolean {
    const socket = this.#find(id);
    if (socket === undefined || socket.ending) return true;
    socket.peer.onBytes(memory, at, end);
    if (socket.backlog < MAX_BACKLOG) return true;
    socket.owesDrain = true;
    return false;
  }

  sendOwn(id: SocketId, bytes: Buffer): boolean {
    return this.send(id, bytes, 0, bytes.length);
  }

  place(): number {
    return 0;
  }

  placed(id: SocketId, bytes: number): boolean {
    const mayGoOn = bytes === 0 || this.send(id, this.memory, 0, bytes);
    if (this.#poison) this.memory.fill(POISON, 0, bytes);
    return mayGoOn;
  }

  /** There is no kernel to do it. */
  move(): boolean {
    return false;
  }

  backlog(id: SocketId): number {
    return this.#find(id)?.backlog ?? 0;
  }

  isBroken(id: SocketId): boolean {
    return this.#find(id) === undefined;
  }

  end(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined || socket.ending) return;
    socket.ending = true;
    if (socket.backlog === 0) socket.peer.onEnd();
  }

  close(id: SocketId): void {
    const socket = this.#find(id);
    if (socket === undefined) return;
    this.closed(socket);
    socket.peer.onClose();
  }

  reset(id: SocketId): void {
    this.close(id);
  }

  /** Reports bytes that the peer has given away. */
  read(id: SocketId, bytes: Buffer): void {
    this.events.onBytes(id, bytes, 0, bytes.length);
    if (this.#poison) bytes.fill(POISON);
  }

  /** Reports short text without memory of its own, in a buffer that readers know. False: it is too long, or the buffer is in use. */
  readText(id: SocketId, text: string): boolean {
    const inbox = this.#inbox;
    if (inbox === undefined || text.length > inbox.length) return false;
    this.#inbox = undefined;
    try {
      this.events.onBytes(id, inbox, 0, inbox.write(text, "latin1"));
    } finally {
      if (this.#poison) inbox.fill(POISON, 0, text.length);
      this.#inbox = inbox;
    }
    return true;
  }

  /** Reports the close in a later tick. */
  closed(socket: MemorySocket): void {
    if (socket.closing) return;
    socket.closing = true;
    socket.forgetUnread();
    process.nextTick(() => {
      this.#sockets.delete(socket);
      this.events.onClose(socket.id, undefined);
    });
  }

  /** Undefined: it is closed, or about to be. */
  #find(id: SocketId): MemorySocket | undefined {
    const socket = this.#sockets.find(id);
    return socket === undefined || socket.closing ? undefined : socket;
  }
}
