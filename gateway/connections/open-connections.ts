import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { plainAddress } from "../../lib/connection-limits.ts";
import { NetConnection } from "./connection.ts";
import { type MemoryPeer, type MemorySocket, MemorySockets } from "./memory-sockets.ts";
import { NodeSockets } from "./node-sockets.ts";
import { type AdoptOptions, NO_SOCKET, type OpenSocketLayer, type SocketEvents, type SocketId, type SocketLayer, slotOf } from "./socket-layer.ts";

export type ConnectionFactory = {
  /**
   * Takes over an established socket that was not read yet, and that is paused; or a stream in memory, with `remoteAddress` and `encrypted` as a socket has
   * them. `readToEnd`, for containers: a refused write does not end it, and its address is empty. `under`: the TCP connection under a TLS connection.
   */
  adopt(socket: Duplex, options?: { readToEnd?: boolean; under?: Socket | undefined }): NetConnection;
  /** The same for a socket that others have read. */
  adoptStream(socket: Duplex): NetConnection;
  /** Opens a connection to a peer in this process, which uses the socket. */
  openInMemory(peer: MemoryPeer, client: Pick<NetConnection, "remoteAddress" | "tls">): { connection: NetConnection; socket: MemorySocket };
};

/** `plain`: the layer for sockets without TLS that it can take. All others get Node's. `poison`: see `POISON`. */
export function createConnectionFactory({ plain, poison = false }: { plain?: OpenSocketLayer; poison?: boolean } = {}): ConnectionFactory {
  const ofNode = new OpenConnections((events) => new NodeSockets(events, { poison }));
  const inMemory = new OpenConnections((events) => new MemorySockets(events, { poison }));
  const fast = plain === undefined ? undefined : new OpenConnections((events) => plain(events, { poison }));
  const adopt = (socket: Duplex, options: AdoptOptions): NetConnection => {
    const connection = fast?.adopt(socket, options) ?? ofNode.adopt(socket, options);
    if (connection === undefined) throw new Error("A socket cannot be adopted");
    return connection;
  };
  return {
    adopt: (socket, { readToEnd = false, under } = {}) => adopt(socket, { readToEnd, under }),
    adoptStream: (socket) => adopt(socket, { readToEnd: false, asStream: true }),
    openInMemory: (peer, client) => {
      const socket = inMemory.layer.open(peer);
      return { connection: inMemory.add(socket.id, client), socket };
    },
  };
}

/** The connections over one layer, by slot. */
class OpenConnections<Layer extends SocketLayer = SocketLayer> implements SocketEvents {
  readonly layer: Layer;
  readonly #bySlot: (NetConnection | undefined)[] = [];

  constructor(open: (events: SocketEvents) => Layer) {
    this.layer = open(this);
  }

  adopt(socket: Duplex, options: AdoptOptions): NetConnection | undefined {
    // A socket without its connection has no address. That of a container is known, and to read it is a system call.
    const remoteAddress = options.readToEnd ? "" : addressOf(socket);
    const tls = "encrypted" in socket && socket.encrypted === true;
    const id = this.layer.adopt(socket, options);
    return id === NO_SOCKET ? undefined : this.add(id, { remoteAddress, tls });
  }

  /** The connection of a new socket of the layer. */
  add(id: SocketId, { remoteAddress, tls }: Pick<NetConnection, "remoteAddress" | "tls">): NetConnection {
    const connection = new NetConnection(this.layer, { id, remoteAddress, tls });
    this.#bySlot[slotOf(id)] = connection;
    return connection;
  }

  onBytes(id: SocketId, memory: Buffer, at: number, end: number): void {
    this.#bySlot[slotOf(id)]?.user.onBytes(memory, at, end);
  }

  onMoved(id: SocketId, bytes: number): void {
    this.#bySlot[slotOf(id)]?.user.onMoved?.(bytes);
  }

  onEnd(id: SocketId): void {
    this.#bySlot[slotOf(id)]?.user.onEnd();
  }

  onDrain(id: SocketId): void {
    this.#bySlot[slotOf(id)]?.user.onDrain();
  }

  onClose(id: SocketId, error: Error | undefined): void {
    const slot = slotOf(id);
    const connection = this.#bySlot[slot];
    this.#bySlot[slot] = undefined;
    connection?.close(error);
  }
}

function addressOf(socket: Duplex): string {
  return plainAddress("remoteAddress" in socket && typeof socket.remoteAddress === "string" ? socket.remoteAddress : undefined);
}
