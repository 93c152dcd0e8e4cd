import { createServer } from "node:http";
import httpProxy from "http-proxy";
import { serveWith } from "./same-work.mjs";

const proxy = httpProxy.createProxyServer({});
proxy.on("error", () => undefined);
serveWith(createServer(), {
  web: (request, response, options, failed) => proxy.web(request, response, options, failed),
  ws: (request, socket, options, head) => proxy.ws(request, socket, head, options, () => socket.destroy()),
});
