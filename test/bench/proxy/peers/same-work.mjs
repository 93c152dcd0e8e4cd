// What berth does with each request, for proxies that are libraries: who holds this key, where is this container, what does it see.
import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { join } from "node:path";

const [folder = "", port = ""] = process.argv.slice(2);
const world = JSON.parse(readFileSync(join(folder, "world.json"), "utf8"));
const callers = new Map(world.keys.map((key) => [key, { token: key }]));
export const routes = new Map(world.ids.map((id, index) => [id, `http://127.0.0.1:${index < world.fixed ? world.fixedPort : world.rawPort}`]));
export const PREFIX = "/api/docker/containers/proxy/";
export const agent = new Agent({ keepAlive: true, maxFreeSockets: 256 });

/** Where a request goes and for which user, or the status of its refusal. */
export function decide(url, authorization) {
  const caller = callers.get(authorization);
  if (caller === undefined) return { status: 401 };
  const id = url.slice(PREFIX.length, PREFIX.length + 36);
  const target = url.startsWith(PREFIX) ? routes.get(id) : undefined;
  if (target === undefined) return { status: 404 };
  return { target, path: url.slice(PREFIX.length + 36) || "/", token: caller.token };
}

/** A library of http-proxy's kind: `web` and `ws` with a target each time. */
export function serveWith(server, proxy) {
  const gone = () => undefined;
  server.on("request", (request, response) => {
    const decision = decide(request.url, request.headers.authorization);
    if (decision.status !== undefined) return void response.writeHead(decision.status).end();
    request.url = decision.path;
    request.headers["x-user-api-key"] = decision.token;
    proxy.web(request, response, { target: decision.target, agent, xfwd: true }, () => response.destroy())?.catch?.(() => response.destroy());
  });
  server.on("upgrade", (request, socket, head) => {
    const decision = decide(request.url, request.headers.authorization);
    if (decision.status !== undefined) return void socket.destroy();
    request.url = decision.path;
    request.headers["x-user-api-key"] = decision.token;
    socket.on("error", gone);
    proxy.ws(request, socket, { target: decision.target, xfwd: true }, head)?.catch?.(gone);
  });
  listen(server);
}

export function listen(server) {
  server.keepAliveTimeout = 600_000;
  server.requestTimeout = 0;
  server.listen(Number(port), "127.0.0.1", 4_096);
}

export { port };
process.once("SIGTERM", () => process.exit(0));
