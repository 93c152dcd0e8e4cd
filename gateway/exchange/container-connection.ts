import { type NetConnection, type ConnectionUser, NO_USER } from "../connections/connection.ts";
import type { ForwardTarget } from "../decision.ts";
import type { RequestHead, ResponseHead, ResponseReader } from "../http1/message-reader.ts";

/** The exchange that uses a connection to a container. */
export type ContainerUser = {
  /** The client's connection, if it gets the bytes of the body as they come. */
  readonly bodyReceiver: NetConnection | undefined;
  /** Bytes came, of any kind. */
  onReceived(bytes: number): void;
  /** The head of an interim (1xx) response. */
  onInterim(head: ResponseHead): void;
  /** The head of a 101 response; bytes `at`..`end` follow it. */
  onSwitch(head: ResponseHead, memory: Buffer, at: number, end: number): void;
  /** The head of the final response, as bytes `at`..`bodyAt`; those up to `end` are of its body. */
  onHead(head: ResponseHead, memory: Buffer, at: number, bodyAt: number, end: number): void;
  /** More bytes of the body: as they came, or without chunks for a client of HTTP/1.0. */
  onBody(memory: Buffer, at: number, end: number): void;
  /** `clean`: nothing follows, and the connection can be used again. `withHead`: it came together with the head. */
  onResponseEnd(clean: boolean, withHead?: boolean): void;
  /** Bytes after the response. */
  onSurplus(): void;
  /** The bytes are not HTTP, or a call above threw. */
  onContainerFailure(error: unknown): void;
  onContainerDrain(): void;
  onContainerLost(error: Error | undefined): void;
};

/**
 * Where the pool lists a connection between exchanges; only the pool writes it. It is empty while all its connections are in use, and is dropped after the
 * last has closed. `gone`: the container has left the address.
 */
export type IdleConnectionList = {
  readonly key: string;
  readonly owner: string;
  /** As it was named last. */
  target: ForwardTarget;
  readonly connections: ContainerConnection[];
  gone: boolean;
  dropped: boolean;
  unwatch(): void;
};

/** A connection to a container: it reads the responses of one exchange after another. */
export class ContainerConnection implements ConnectionUser {
  readonly connection: NetConnection;
  readonly #reader: ResponseReader;
  readonly #forget: (connection: ContainerConnection) => void;
  #connectMs: number;
  #user: ContainerUser | undefined;
  #method = "";
  #minorVersion = 1;
  /** The next part of the response; `over`: it is complete. */
  #awaiting: "head" | "length" | "chunked" | "close" | "over" = "head";
  #bodyLeft = 0;
  #dechunks = false;
  #unframed = false;
  #reused = false;
  #responseSeen = false;
  #idleSince = 0;
  #idleList: IdleConnectionList | undefined;

  constructor(
    connection: NetConnection,
    { reader, connectMs, forget }: { reader: ResponseReader; connectMs: number; forget(connection: ContainerConnection): void },
  ) {
    this.connection = connection;
    this.#reader = reader;
    this.#connectMs = connectMs;
    this.#forget = forget;
    connection.user = this;
    connection.resume();
  }

  /** The last head that was read. */
  get head(): ResponseHead {
    return this.#reader.head;
  }

  /** The duration of the connect; 0 after the first exchange. */
  get connectMs(): number {
    return this.#connectMs;
  }

  /** Since when it is idle, on the ticker's scale. */
  get idleSince(): number {
    return this.#idleSince;
  }

  /** It has sent all of the last request: until then, another exchange would wait for a container that has responded without reading. */
  get isFree(): boolean {
    return this.connection.writable && this.connection.backlog === 0;
  }

  get idleList(): IdleConnectionList | undefined {
    return this.#idleList;
  }

  /** It may have died unnoticed after an earlier exchange: the current one has received nothing. */
  get mayBeStale(): boolean {
    return this.#reused && !this.#responseSeen;
  }

  /** The client gets the body without chunks: HTTP/1.0 has none. */
  get dechunks(): boolean {
    return this.#dechunks;
  }

  /** The end of the client's connection is the end of the response: nothing else shows that bytes are missing. */
  get unframed(): boolean {
    return this.#unframed;
  }

  /** The client gets the chunks as they come, and the next byte is the size of one. */
  get isBetweenChunks(): boolean {
    return this.#awaiting === "chunked" && !this.#dechunks && this.#reader.isBetweenChunks;
  }

  /** Begins an exchange. The request tells whether the response has a body, and which framing the client reads. */
  use(user: ContainerUser, { method, minorVersion }: Pick<RequestHead, "method" | "minorVersion">): void {
    this.#user = user;
    this.#method = method;
    this.#minorVersion = minorVersion;
    this.#awaiting = "head";
    this.#responseSeen = false;
  }

  /** The exchange is over, or wants nothing more of the connection. */
  leave(): void {
    this.#user = undefined;
  }

  /** The pool keeps it for the next exchange. */
  park(list: IdleConnectionList, now: number): void {
    this.#reader.dropHead();
    this.#reused = true;
    this.#connectMs = 0;
    this.#idleSince = now;
    this.#idleList = list;
    // A client that took the response slowly may have paused it, but the end of an idle connection must be seen.
    if (this.connection.paused) this.connection.resume();
  }

  /** The pool has forgotten it. */
  unlist(): void {
    this.#idleList = undefined;
  }

  /** Gives the connection away, paused. It never returns to the pool. */
  handOver(): NetConnection {
    this.#user = undefined;
    this.#reader.close();
    this.#forget(this);
    this.connection.user = NO_USER;
    this.connection.pause();
    return this.connection;
  }

  destroy(): void {
    this.connection.destroy();
  }

  onBytes(memory: Buffer, at: number, end: number): void {
    const user = this.#user;
    // Without a request, these bytes would become the response to the next one.
    if (user === undefined) return this.destroy();
    this.#responseSeen = true;
    user.onReceived(end - at);
    try {
      this.#read(user, memory, at, end);
    } catch (error) {
      user.onContainerFailure(error);
    }
    this.#reader.expireHead();
  }

  onMoved(bytes: number): void {
    const user = this.#user;
    if (user === undefined) return;
    user.onReceived(bytes);
    this.#bodyLeft -= bytes;
  }

  onDrain(): void {
    this.#user?.onContainerDrain();
  }

  onEnd(): void {
    if (this.#user === undefined) return this.destroy();
    // A body without a length ends with its connection.
    if (this.#awaiting === "close") this.#user.onResponseEnd(false);
    else this.#user.onContainerLost(undefined);
  }

  onClose(error: Error | undefined): void {
    this.#reader.close();
    this.#forget(this);
    this.#user?.onContainerLost(error);
  }

  #read(user: ContainerUser, memory: Buffer, from: number, end: number): void {
    if (this.#awaiting === "over") return user.onSurplus();
    if (this.#awaiting !== "head") return this.#readBody(user, memory, from, end);
    for (let at = from; ;) {
      const bodyAt = this.#reader.readHead(memory, at, end);
      if (bodyAt === -1) return;
      const { head } = this.#reader;
      if (head.status >= 200) return this.#beginBody(user, memory, at, bodyAt, end);
      if (head.status === 101) return user.onSwitch(head, memory, bodyAt, end);
      user.onInterim(head);
      if (this.#user !== user) return;
      at = bodyAt;
    }
  }

  #beginBody(user: ContainerUser, memory: Buffer, at: number, bodyAt: number, end: number): void {
    const { head } = this.#reader;
    const kind = head.bodyKind(this.#method);
    this.#awaiting = kind === "none" ? "over" : kind;
    this.#bodyLeft = head.bodyLength;
    this.#dechunks = kind === "chunked" && this.#minorVersion === 0;
    this.#unframed = kind === "close" || this.#dechunks;
    const over = this.#dechunks ? -1 : this.#bodyEnd(memory, bodyAt, end);
    const stop = over === -1 ? end : over;
    user.onHead(head, memory, at, bodyAt, this.#dechunks ? bodyAt : stop);
    if (this.#user !== user) return;
    if (this.#dechunks) this.#readBody(user, memory, bodyAt, end);
    else if (over !== -1) this.#endResponse(user, stop === end, true);
    else this.#moveRest(user);
  }

  #readBody(user: ContainerUser, memory: Buffer, at: number, end: number): void {
    const over = this.#bodyEnd(memory, at, end, this.#dechunks ? (start, stop) => user.onBody(memory, start, stop) : undefined);
    const stop = over === -1 ? end : over;
    if (!this.#dechunks) user.onBody(memory, at, stop);
    if (over !== -1) this.#endResponse(user, stop === end);
    else if (this.#user === user) this.#moveRest(user);
  }

  #moveRest({ bodyReceiver }: ContainerUser): void {
    if (this.#awaiting !== "length" || bodyReceiver === undefined) return;
    // The last byte is read, and with it whatever follows the body.
    this.connection.moveTo(bodyReceiver, this.#bodyLeft - 1);
  }

  #endResponse(user: ContainerUser, isAll: boolean, withHead = false): void {
    this.#awaiting = "over";
    user.onResponseEnd(isAll && this.#reader.head.persistent, withHead);
  }

  /** The offset after the body's end, or -1 if the whole rest belongs to it. `onData` gets it without chunks. */
  #bodyEnd(memory: Buffer, at: number, end: number, onData?: (start: number, stop: number) => void): number {
    switch (this.#awaiting) {
      case "over":
        return at;
      case "chunked":
        return this.#reader.readChunked(memory, at, end, onData);
      case "length": {
        const available = end - at;
        if (available >= this.#bodyLeft) return at + this.#bodyLeft;
        this.#bodyLeft -= available;
        return -1;
      }
      default:
        return -1;
    }
  }
}
