import type { FastifyRequest } from "fastify";
import type { ApiSettings } from "./api-deps.ts";
import { schemeOf } from "./web-root.ts";

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
