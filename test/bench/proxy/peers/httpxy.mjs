import { createServer } from "node:http";
import { createProxyServer } from "httpxy";
import { serveWith } from "./same-work.mjs";

const proxy = createProxyServer({});
proxy.on("error", () => undefined);
serveWith(createServer(), {
  web: (request, response, options) => proxy.web(request, response, options),
  ws: (request, socket, options, head) => proxy.ws(request, socket, options, head),
});
