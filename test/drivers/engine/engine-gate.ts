import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { buffer, text } from "node:stream/consumers";
import type { Test } from "tap";

export type Gate = {
  host: string;
  port: number;
  /** Breaks what is open; a new connection gets through. */
  cut(): void;
  /** Nothing listens until `back`. */
  away(): Promise<void>;
  back(): Promise<void>;
};

/** In front of the real engine, or of a port, on a loopback port. */
export async function openGate(t: Test, to: string | { host: string; port: number }): Promise<Gate> {
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
  const open = await listen(t, gate, cut);
  return {
    host: open,
    port: Number(new URL(open).port),
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

/** In front of the real engine, which answers each create with one more warning: engines on other machines warn of what ours can do. */
export function openWarner(t: Test, engine: string, warning: string): Promise<string> {
  return openRewriter(t, engine, (path, status, text) => {
    if (!path.includes("/containers/create") || status !== 201) return text;
    const { Warnings, ...rest } = JSON.parse(text) as { Warnings?: string[] | null };
    return JSON.stringify({ ...rest, Warnings: [...(Warnings ?? []), warning] });
  });
}

/**
 * In front of the real engine, with other responses in JSON: those of an older engine, or of another machine. What `refusalOf` returns is the response
 * with status 500 to a request that the engine does not receive.
 */
export async function openRewriter(
  t: Test,
  engine: string,
  rewrite: (path: string, status: number, text: string) => string,
  refusalOf: (path: string) => string | undefined = () => undefined,
): Promise<string> {
  const socketPath = engine.replace(/^unix:\/\//, "");
  const server = createHttpServer((near, answer) => void pass(near, answer));
  return listen(t, server, () => server.closeAllConnections());

  async function pass(near: IncomingMessage, answer: ServerResponse): Promise<void> {
    // As a whole: an engine that refuses what it has read of a body takes no more of it.
    const body = await buffer(near);
    const { method, url: path, headers } = near;
    const refusal = refusalOf(path ?? "");
    if (refusal !== undefined) return void answer.writeHead(500, { "content-type": "application/json" }).end(JSON.stringify({ message: refusal }));
    const far = request({ socketPath, method, path, headers, agent: false }, (response) => {
      // Longer ones come in chunks, as streams do; only streams have other paths.
      const isWhole = response.headers["content-length"] !== undefined || /\/json(?:\?|$)/.test(path ?? "");
      const isText = isWhole && response.headers["content-type"]?.startsWith("application/json");
      if (isText) return void rewritten(path ?? "", response, answer);
      answer.writeHead(response.statusCode ?? 500, response.headers);
      response.pipe(answer);
    });
    far.on("error", () => answer.destroy());
    answer.once("close", () => far.destroy());
    far.end(body);
  }

  async function rewritten(path: string, response: IncomingMessage, answer: ServerResponse): Promise<void> {
    const status = response.statusCode ?? 500;
    const changed = rewrite(path, status, await text(response));
    answer.writeHead(status, { "content-type": "application/json" }).end(changed);
  }
}
