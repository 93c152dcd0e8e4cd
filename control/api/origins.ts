import type { FastifyRequest } from "fastify";
import type { ApiSettings } from "./api-deps.ts";

type OriginSettings = Pick<ApiSettings, "webRoot" | "console">;

/** Where the browser that made a request of the edge finds the console: its origin. Undefined where it is unknown. */
export function consoleOrigin({ console }: OriginSettings, request: FastifyRequest): string | undefined {
  if (console === undefined) return undefined;
  if (console.url !== undefined) return new URL(console.url).origin;
  const edge = hostOf(request);
  if (console.name !== undefined) return edge && withHost(request, console.name, edge.port);
  return edge && withHost(request, edge.hostname, String(console.port));
}

/** Where the browser that made a request of the console finds the edge: its origin. Undefined where it is unknown. */
export function edgeOrigin({ webRoot, console }: OriginSettings, request: FastifyRequest): string | undefined {
  if (webRoot !== undefined) return new URL(webRoot).origin;
  // Under a name of its own, only the setting tells the edge's.
  if (console === undefined || console.name !== undefined) return undefined;
  const edge = hostOf(request);
  return edge && withHost(request, edge.hostname, String(console.edgePort));
}

function hostOf({ headers: { host = "" } }: FastifyRequest): URL | undefined {
  return host !== "" && URL.canParse(`http://${host}`) ? new URL(`http://${host}`) : undefined;
}

function withHost(request: FastifyRequest, hostname: string, port: string): string {
  return new URL(`${schemeOf(request)}://${hostname}${port === "" ? "" : `:${port}`}`).origin;
}

/** Where people reach this server: what the setting says, else the address that this very request was sent to. */
export function webRootOf({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): string {
  return webRoot ?? `${schemeOf(request)}://${request.headers.host ?? "localhost"}`;
}

/** Whether a browser came by https: as the gateway says it, or as this host is reached, which a load balancer that is not trusted cannot tell it. */
export function isHttps({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): boolean {
  if (schemeOf(request) === "https") return true;
  if (webRoot === undefined) return false;
  const { protocol, host } = new URL(webRoot);
  return protocol === "https:" && host === request.headers.host;
}

/** As the gateway says it, which says it of every request. */
export function schemeOf(request: FastifyRequest): "http" | "https" {
  return request.headers["x-forwarded-proto"] === "https" ? "https" : "http";
}
