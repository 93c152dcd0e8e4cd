import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Test } from "tap";
import type { TcpListenerSource } from "../../../gateway/feed/container-cache.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { freePort, type ListenAddress } from "../../fixtures/server.ts";
import { openStand } from "../stand.ts";

export type TcpStand = Awaited<ReturnType<typeof openTcpStand>>;

/** A gateway with the TCP listener of one container, `ID`, on `tcpPort`. */
export async function openTcpStand(t: Test, id: string, options: Parameters<typeof openStand>[1] & { perContainer?: number } = {}) {
  const tcpPort = await freePort();
  const listeners = new Set<Parameters<TcpListenerSource["watch"]>[0]>();
  const source: TcpListenerSource = {
    watch: (onChange) => {
      listeners.add(onChange);
      onChange(id, tcpPort);
      return () => listeners.delete(onChange);
    },
  };
  const stand = await openStand(t, { ...options, tcp: { source, host: "127.0.0.1", perContainer: options.perContainer ?? 500 } });
  await eventually("the listener", () => accepts(tcpPort));
  return {
    ...stand,
    tcpPort,
    /** A change of the feed. */
    move: (port: number | undefined) => listeners.forEach((onChange) => onChange(id, port)),
    connect: () => openClient(t, tcpPort),
    isListening: (port = tcpPort) => accepts(port),
  };
}

/** Whether something listens; what it accepts is closed at once. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.resetAndDestroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** What a client has received, and how its connection ended. */
export type TcpClient = { socket: Socket; received(): string; ended(): boolean; closed: Promise<Error | undefined> };

export async function openClient(t: Test, port: number): Promise<TcpClient> {
  const socket = connect({ port, host: "127.0.0.1" });
  let received = "";
  let ended = false;
  let error: Error | undefined;
  socket.setEncoding("latin1").on("data", (text: string) => void (received += text));
  socket.on("end", () => void (ended = true));
  socket.on("error", (cause) => void (error = cause));
  const closed = new Promise<Error | undefined>((resolve) => socket.once("close", () => resolve(error)));
  t.teardown(() => socket.destroy());
  // A reset may arrive with the accept.
  await Promise.race([once(socket, "connect").catch(() => undefined), closed]);
  return { socket, received: () => received, ended: () => ended, closed };
}

/** A container that gives each connection to `onConnection`, and ends it after its client did. */
export async function openTcpContainer(
  t: Test,
  onConnection: (socket: Socket) => void,
): Promise<{ address: ListenAddress; sockets: Set<Socket>; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on("error", () => undefined).once("close", () => sockets.delete(socket)));
    onConnection(socket);
    socket.on("end", () => void socket.end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  t.teardown(close);
  const { port } = server.address() as { port: number };
  return { address: { host: "127.0.0.1", port }, sockets, close };
}
