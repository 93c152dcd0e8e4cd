import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Test } from "tap";

export type Gate = {
  host: string;
  /** Breaks what is open; a new connection gets through. */
  cut(): void;
  /** Nobody listens until `back`. */
  away(): Promise<void>;
  back(): Promise<void>;
};

/** In front of the real engine, or of a port of this machine, on a loopback port. */
export async function openGate(t: Test, host: string | { port: number }): Promise<Gate> {
  const sockets = new Set<Socket>();
  const gate = createServer((near) => {
    const far = typeof host === "string" ? connect(host.replace(/^unix:\/\//, "")) : connect(host.port, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  const cut = () => sockets.forEach((socket) => socket.destroy());
  const open = await listen(t, gate, cut);
  return {
    host: open,
    cut,
    away: async () => {
      const closed = once(gate, "close");
      gate.close();
      cut();
      await closed;
    },
    back: async () => {
      gate.listen(Number(new URL(open).port), "127.0.0.1");
      await once(gate, "listening");
    },
  };
}

/** Accepts and never answers. */
export async function openSilence(t: Test): Promise<string> {
  const sockets = new Set<Socket>();
  const silence = createServer((socket) => {
    sockets.add(socket.on("error", () => {}));
  });
  return listen(t, silence, () => sockets.forEach((socket) => socket.destroy()));
}

async function listen(t: Test, server: Server, cut: () => void): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    cut();
    server.close();
  });
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
