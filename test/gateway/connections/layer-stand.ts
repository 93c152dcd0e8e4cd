import { readdirSync, readlinkSync } from "node:fs";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectSecurely, createServer as createSecureServer } from "node:tls";
import type { SocketEvents, SocketId, SocketLayer } from "../../../gateway/connections/socket-layer.ts";
import { NodeSockets } from "../../../gateway/connections/node-sockets.ts";
import { FfiSockets } from "../../../gateway/connections/ffi-sockets.ts";
import { loadLibc } from "../../../gateway/connections/libc.ts";
import { makeCertificate } from "../../fixtures/certificates.ts";
import { testCalls } from "../../fixtures/connections.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { listen } from "../../fixtures/server.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const TRANSPORTS = ["IPv4", "IPv6", "Unix", "TLS"] as const;
export type Transport = (typeof TRANSPORTS)[number];

type LayerKind = {
  name: string;
  open(events: SocketEvents): SocketLayer;
  transports: readonly Transport[];
  /** Bytes that it reads in one turn. Node reads every socket that has any, up to 2 MiB of each. */
  turnBytes: number;
};

/** Every implementation. Their memory is overwritten as soon as it may be used again. */
export const LAYERS: readonly LayerKind[] = [
  { name: "node", open: (events) => new NodeSockets(events, { poison: true }), transports: TRANSPORTS, turnBytes: Infinity },
  {
    name: "ffi",
    open: (events) => new FfiSockets({ libc: loadLibc(), ring: undefined }, events, { poison: true }),
    transports: ["IPv4", "IPv6", "Unix"],
    turnBytes: 8 * 1_048_576,
  },
  {
    name: "ffi with io_uring",
    open: (events) => new FfiSockets(testCalls(), events, { poison: true }),
    transports: ["IPv4", "IPv6", "Unix"],
    turnBytes: 8 * 1_048_576,
  },
];

/** Every implementation with each of its transports. */
export const ALL = LAYERS.flatMap((kind) => kind.transports.map((transport) => ({ kind, transport, name: `${kind.name} over ${transport}` })));

/** A socket of the layer, with what it has received. */
export class LayerSocket {
  readonly layer: SocketLayer;
  readonly id: SocketId;
  readonly chunks: Buffer[] = [];
  bytes = 0;
  moved = 0;
  ends = 0;
  drains = 0;
  closes = 0;
  error: NodeJS.ErrnoException | undefined;
  /** Instead of keeping the bytes. */
  onBytes: ((memory: Buffer, at: number, end: number) => void) | undefined;
  onMoved: (() => void) | undefined;
  onEnd: (() => void) | undefined;
  onDrain: (() => void) | undefined;
  onClose: (() => void) | undefined;

  constructor(layer: SocketLayer, id: SocketId) {
    this.layer = layer;
    this.id = id;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }

  send(text: string): boolean {
    return this.layer.send(this.id, Buffer.from(text, "latin1"), 0, text.length);
  }

  place(text: string): boolean {
    const at = this.layer.place(this.id, text.length + 100);
    this.layer.memory.write(text, at, "latin1");
    return this.layer.placed(this.id, text.length);
  }
}

/** The events of one layer, by socket. */
export class LayerStand {
  readonly layer: SocketLayer;
  readonly sockets = new Map<SocketId, LayerSocket>();
  /** Events of sockets that are not open. */
  stray = 0;

  constructor(kind: LayerKind) {
    this.layer = kind.open({
      onBytes: (id, memory, at, end) => {
        const socket = this.#find(id);
        if (socket === undefined) return;
        socket.bytes += end - at;
        if (socket.onBytes !== undefined) socket.onBytes(memory, at, end);
        else socket.chunks.push(Buffer.from(memory.subarray(at, end)));
      },
      onMoved: (id, bytes) => {
        const socket = this.#find(id);
        if (socket === undefined) return;
        socket.moved += bytes;
        socket.onMoved?.();
      },
      onEnd: (id) => {
        const socket = this.#find(id);
        if (socket === undefined) return;
        socket.ends++;
        socket.onEnd?.();
      },
      onDrain: (id) => {
        const socket = this.#find(id);
        if (socket === undefined) return;
        socket.drains++;
        socket.onDrain?.();
      },
      onClose: (id, error) => {
        const socket = this.#find(id);
        this.sockets.delete(id);
        if (socket === undefined) return;
        socket.closes++;
        socket.error = error;
        socket.onClose?.();
      },
    });
  }

  #find(id: SocketId): LayerSocket | undefined {
    const socket = this.sockets.get(id);
    if (socket === undefined) this.stray++;
    return socket;
  }

  adopt(stream: Socket, readToEnd = false, under?: Socket): LayerSocket {
    const id = this.layer.adopt(stream, { readToEnd, under });
    if (id < 0) throw new Error("the layer did not take the socket");
    const socket = new LayerSocket(this.layer, id);
    this.sockets.set(id, socket);
    return socket;
  }
}

type TestCase = { teardown(end: () => unknown): void };

/**
 * A server whose connections go to `accept`, those of TLS with the TCP connection under them, and how a peer connects to it. Either end has half-open
 * connections.
 */
export async function openTransport(
  t: TestCase,
  transport: Transport,
  accept: (socket: Socket, under?: Socket) => void,
): Promise<() => Promise<Socket>> {
  const folder = tempFolder(t);
  const options = { allowHalfOpen: true, pauseOnConnect: true };
  if (transport === "TLS") {
    const under = new Map<number | undefined, Socket>();
    const server = createSecureServer({ ...options, ...makeCertificate(folder, "layer") }, (socket) => accept(socket, under.get(socket.remotePort)));
    server.on("connection", (socket: Socket) => void under.set(socket.remotePort, socket));
    const { port } = await listen(t, server);
    return async () => {
      const half = { allowHalfOpen: true };
      const peer = connectSecurely({ port, host: "127.0.0.1", rejectUnauthorized: false, ...half });
      await once(peer, "secureConnect");
      return forgiving(peer);
    };
  }
  const server: Server = createServer(options, accept);
  const where = transport === "Unix" ? { path: join(folder, "layer.sock") } : { host: transport === "IPv6" ? "::1" : "127.0.0.1" };
  const { port, host } = await listen(t, server, where);
  return async () => {
    const peer = connect({ allowHalfOpen: true, ...("path" in where ? { path: where.path } : { port, host }) });
    await once(peer, "connect");
    return forgiving(peer);
  };
}

/** A test looks at `errored`. */
function forgiving(socket: Socket): Socket {
  return socket.on("error", () => undefined);
}

/** Opens connections between peers of Node's and sockets of the layer, which are paused. */
export async function openPairs(
  t: TestCase,
  { kind, transport }: { kind: LayerKind; transport: Transport },
  { readToEnd = false } = {},
): Promise<{ stand: LayerStand; pair(): Promise<{ socket: LayerSocket; peer: Socket }> }> {
  const stand = new LayerStand(kind);
  const accepted: LayerSocket[] = [];
  const connectPeer = await openTransport(t, transport, (stream, under) => void accepted.push(stand.adopt(stream, readToEnd, under)));
  t.teardown(() => {
    for (const id of stand.sockets.keys()) stand.layer.close(id);
  });
  const pair = async () => {
    const peer = await connectPeer();
    t.teardown(() => peer.destroy());
    const socket = await eventually("the connection to be adopted", () => accepted.shift());
    return { socket, peer };
  };
  return { stand, pair };
}

/** Descriptors of this process that are links to `what`. */
export function countDescriptors(what: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => linkOf(fd) === what).length;
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // The descriptor of the listing itself.
    return "";
  }
}
