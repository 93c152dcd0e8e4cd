import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { Test } from "tap";

/** In front of the real engine, or of a port, on a loopback port; its connections can be cut. */
export async function openGate(t: Test, to: string | { host: string; port: number }): Promise<{ host: string; cut(): void }> {
  const sockets = new Set<Socket>();
  const gate = createServer((near) => {
    const far = typeof to === "string" ? connect(to.replace(/^unix:\/\//, "")) : connect(to);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  const cut = () => sockets.forEach((socket) => socket.destroy());
  return { host: await listen(t, gate, cut), cut };
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
