import type { FastifyRequest } from "fastify";
import type { ApiSettings } from "./api-parts.ts";

/** Where people reach this server: what the setting says, else the address that this very request was sent to. */
export function webRootOf({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): string {
  return webRoot ?? `${forwardedScheme(request)}://${request.headers.host ?? "localhost"}`;
}

/** As the gateway says it, which says it of every request. */
export function forwardedScheme(request: FastifyRequest): "http" | "https" {
  return request.headers["x-forwarded-proto"] === "https" ? "https" : "http";
}
