// It routes by prefix and takes the prefix off; it knows no keys, so its figures are without that work.
import { ConfigurableProxy } from "configurable-http-proxy";
import { listen, PREFIX, routes } from "./same-work.mjs";

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const proxy = new ConfigurableProxy({ log, includePrefix: false, xfwd: true, keepAliveTimeout: 600_000 });
for (const [id, target] of routes) await proxy.addRoute(PREFIX + id, { target });
listen(proxy.proxyServer);
// As its own command does: a client that breaks off would end it otherwise.
process.on("uncaughtException", () => undefined);
