import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { NodeSocket, type NodeSocketDeps, TurnOutbox } from "./node-socket.ts";
import { ReadBuffers } from "./read-buffers.ts";
import { type AdoptOptions, type SocketEvents, type SocketId, type SocketLayer, type SocketLayerOptions, SlotTable } from "./socket-layer.ts";

/**
 * Sockets of Node. A plain one is read into buffers that all sockets share, and written past its stream. TLS sockets and streams in memory have no such
 * handle: they are read by their events, and written as streams.
 */
export class NodeSockets implements SocketLayer {
  readonly name = "node";
  readonly memory: Buffer;
  readonly #slots = new SlotTable<NodeSocket>();
  readonly #deps: NodeSocketDeps;

  constructor(events: SocketEvents, options: SocketLayerOptions) {
    const outbox = new TurnOutbox(options);
    this.#deps = { events, outbox, buffers: new ReadBuffers(options) };
    this.memory = outbox.memory;
  }

  adopt(socket: Duplex, { readToEnd, under, asStream = false }: AdoptOptions): SocketId {
    const { buffers } = this.#deps;
    const handle = asStream ? undefined : takeHandle(socket);
    const open = (adopted: NodeSocket): Duplex => {
      if (handle === undefined) return readStream(socket, adopted, buffers);
      const options: object = { handle, allowHalfOpen: true, manualStart: true, onread: buffers.into(adopted.deliver) };
      return readToEnd ? new ReadToEndSocket(options, adopted.onDestroy) : new TakenSocket(options, adopted.onDestroy);
    };
    const id = this.#slots.nextId();
    const adopted = new NodeSocket(id, open, this.#deps, { pastStream: handle !== undefined, under });
    this.#slots.add(adopted);
    adopted.listen(this.#forget);
    return id;
  }

  /** Not a function within `adopt`: that would keep the socket whose handle was taken. */
  readonly #forget = (closed: NodeSocket): void => this.#slots.delete(closed);

  resume(id: SocketId): void {
    this.#slots.find(id)?.resume();
  }

  pause(id: SocketId): void {
    this.#slots.find(id)?.pause();
  }

  send(id: SocketId, memory: Buffer, at: number, end: number): boolean {
    return this.#slots.find(id)?.send(memory, at, end) ?? true;
  }

  sendOwn(id: SocketId, bytes: Buffer): boolean {
    return this.#slots.find(id)?.sendOwn(bytes) ?? true;
  }

  place(id: SocketId, bytes: number): number {
    // For a closed socket too, no memory that another has placed in.
    return this.#slots.find(id)?.place(bytes) ?? this.#deps.outbox.reserve(bytes);
  }

  placed(id: SocketId, bytes: number): boolean {
    return this.#slots.find(id)?.placed(bytes) ?? true;
  }

  /** Its sockets have no such way. */
  move(): boolean {
    return false;
  }

  backlog(id: SocketId): number {
    return this.#slots.find(id)?.backlog ?? 0;
  }

  isBroken(id: SocketId): boolean {
    return this.#slots.find(id)?.isBroken() ?? true;
  }

  end(id: SocketId): void {
    this.#slots.find(id)?.end();
  }

  close(id: SocketId): void {
    this.#slots.find(id)?.close();
  }

  reset(id: SocketId): void {
    this.#slots.find(id)?.reset();
  }
}

/** Bytes of a TLS socket have no other owner; those of a stream in memory may. */
function readStream(stream: Duplex, adopted: NodeSocket, buffers: ReadBuffers): Duplex {
  const isOwn = stream instanceof TLSSocket;
  const onData = (chunk: Buffer) => {
    if (isOwn) buffers.deliverOwn(chunk, adopted.deliver);
    else adopted.deliver(chunk, chunk.length);
  };
  return stream.on("data", onData).pause();
}

/**
 * Takes the connection out of a socket, so that another socket can read into buffers: a server has no public option for that. Undefined for a TLS
 * connection, or an unexpected handle.
 */
function takeHandle(socket: Duplex): object | undefined {
  if (!(socket instanceof Socket) || socket instanceof TLSSocket) return undefined;
  const handle = Reflect.get(socket, "_handle") as { readStart?: unknown; useUserBuffer?: unknown } | null;
  if (typeof handle?.readStart !== "function" || typeof handle.useUserBuffer !== "function") return undefined;
  Reflect.set(socket, "_handle", null);
  // The server stops counting it; the engine counts the new connection.
  socket.destroy();
  return handle;
}

type Done = (error?: Error | null) => void;

/** A socket with the handle of another one. It reports when it is destroyed, before its descriptor is closed. */
class TakenSocket extends Socket {
  readonly #onDestroy: () => void;

  constructor(options: object, onDestroy: () => void) {
    super(options);
    this.#onDestroy = onDestroy;
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#onDestroy();
    super["_destroy"](error, done);
  }
}

/**
 * A connection to a container that may refuse the rest of a request, respond, and close. A stream that cannot write is destroyed with its unread bytes.
 * Here unsent bytes count as sent, and only reading detects the end.
 */
class ReadToEndSocket extends TakenSocket {
  #done: Done | undefined;
  #wrapped: Done = () => undefined;

  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super["_write"](chunk, encoding, this.#ignoringRefusal(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super["_writev"]?.(chunks, this.#ignoringRefusal(done));
  }

  /** A stream passes the same `done` each time. */
  #ignoringRefusal(done: Done): Done {
    if (done === this.#done) return this.#wrapped;
    this.#done = done;
    this.#wrapped = (error) => done(isRefused(error) && !this.readableEnded ? null : error);
    return this.#wrapped;
  }
}

function isRefused(error: Error | null | undefined): boolean {
  return error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
}
