import type { FastifyRequest } from "fastify";
import type { ApiSettings } from "./api-deps.ts";

type OriginSettings = Pick<ApiSettings, "webRoot" | "console">;

/** The origin of the console for a browser at the edge; undefined: unknown. */
export function consoleOrigin({ console }: OriginSettings, request: FastifyRequest): string | undefined {
  if (console === undefined) return undefined;
  if (console.url !== undefined) return new URL(console.url).origin;
  const edge = hostOf(request);
  if (console.name !== undefined) return edge && withHost(request, console.name, edge.port);
  return edge && withHost(request, edge.hostname, String(console.port));
}

/** The origin of the console for a browser that is at the console. */
export function ownConsoleOrigin({ console }: Pick<ApiSettings, "console">, request: FastifyRequest): string {
  if (console?.url !== undefined) return new URL(console.url).origin;
  return `${schemeOf(request)}://${hostOf(request)?.host ?? "localhost"}`;
}

/** The origin of the edge for a browser at the console; undefined: unknown. */
export function edgeOrigin({ webRoot, console }: OriginSettings, request: FastifyRequest): string | undefined {
  if (webRoot !== undefined) return new URL(webRoot).origin;
  // If the console has its own host name, only the setting has the edge's.
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

/** The public address of this server: from the setting, else the address of this request. */
export function webRootOf({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): string {
  return webRoot ?? `${schemeOf(request)}://${request.headers.host ?? "localhost"}`;
}

/** Whether the browser uses https: by the gateway, or by the public address, since berth ignores an untrusted load balancer. */
export function isHttps({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): boolean {
  if (schemeOf(request) === "https") return true;
  if (webRoot === undefined) return false;
  const { protocol, host } = new URL(webRoot);
  return protocol === "https:" && host === request.headers.host;
}

/** As the gateway reports it with every request. */
function schemeOf(request: FastifyRequest): "http" | "https" {
  return request.headers["x-forwarded-proto"] === "https" ? "https" : "http";
}
