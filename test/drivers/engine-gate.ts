import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
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

/** In front of the real engine, which answers each create with one more warning: engines on other machines warn of what ours can do. */
export async function openWarner(t: Test, engine: string, warning: string): Promise<string> {
  const server = createHttpServer((near, answer) => {
    const far = request({ socketPath: engine.replace(/^unix:\/\//, ""), method: near.method, path: near.url, headers: near.headers }, (said) => {
      if (!near.url?.includes("/containers/create")) {
        answer.writeHead(said.statusCode ?? 500, said.headers);
        return void said.pipe(answer);
      }
      void warned(said, answer);
    });
    far.once("error", () => answer.destroy());
    answer.once("close", () => far.destroy());
    near.pipe(far);
  });
  return listen(t, server, () => server.closeAllConnections());

  async function warned(said: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { Warnings, ...rest } = JSON.parse(await text(said)) as { Warnings?: string[] | null };
    const told = said.statusCode === 201 ? { ...rest, Warnings: [...(Warnings ?? []), warning] } : rest;
    answer.writeHead(said.statusCode ?? 500, { "content-type": "application/json" }).end(JSON.stringify(told));
  }
}
