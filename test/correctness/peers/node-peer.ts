/** `node node-peer.ts <name> <port> <upstream port>`: a proxy that is a library, in front of one upstream, as its README shows it. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { Duplex } from "node:stream";
import { join } from "node:path";

type Library = {
  web(request: IncomingMessage, response: ServerResponse, options?: object, failed?: () => void): unknown;
  ws(request: IncomingMessage, socket: Duplex, ...rest: unknown[]): unknown;
  on(event: "error", act: () => void): unknown;
};

const installed = createRequire(join(import.meta.dirname, "../../bench/proxy/peers/package.json"));
const [name = "", port = "", upstream = ""] = process.argv.slice(2);
const target = `http://127.0.0.1:${upstream}`;
const options = { target, xfwd: true };

const OPEN: Record<string, () => unknown> = {
  "http-proxy": () => serve((installed("http-proxy") as { createProxyServer(o: object): Library }).createProxyServer(options)),
  "http-proxy-3": () => serve((installed("http-proxy-3") as { createProxyServer(o: object): Library }).createProxyServer(options)),
  httpxy: () => {
    const library = (installed("httpxy") as { createProxyServer(o: object): Library }).createProxyServer(options);
    serve({
      on: () => undefined,
      web: (request, response) => (library.web(request, response) as Promise<void>).catch(() => failed(response)),
      ws: (request, socket, head) => (library.ws(request, socket, {}, head) as Promise<void>).catch(() => socket.destroy()),
    });
  },
  "@fastify/http-proxy": async () => {
    const { default: fastify } = installed("fastify") as {
      default: () => { register(p: unknown, o: object): void; listen(o: object): Promise<unknown> };
    };
    const app = fastify();
    app.register(installed("@fastify/http-proxy"), { upstream: target, websocket: true });
    await app.listen({ port: Number(port), host: "127.0.0.1" });
  },
  "configurable-http-proxy": async () => {
    const { ConfigurableProxy } = installed("configurable-http-proxy") as {
      ConfigurableProxy: new (o: object) => { addRoute(path: string, to: object): Promise<void>; proxyServer: ReturnType<typeof createServer> };
    };
    const quiet = () => undefined;
    const proxy = new ConfigurableProxy({ log: { debug: quiet, info: quiet, warn: quiet, error: quiet } });
    await proxy.addRoute("/", { target });
    proxy.proxyServer.listen(Number(port), "127.0.0.1");
  },
};

await OPEN[name]?.();

function serve(library: Library): void {
  library.on("error", () => undefined);
  createServer((request, response) => library.web(request, response, {}, () => failed(response)))
    .on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => library.ws(request, socket, head))
    .listen(Number(port), "127.0.0.1");
}

function failed(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else response.writeHead(502).end();
}
