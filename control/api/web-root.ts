import type { FastifyRequest } from "fastify";
import type { ApiSettings } from "./api-deps.ts";

/** Where people reach this server: what the setting says, else the address that this very request was sent to. */
export function webRootOf({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): string {
  return webRoot ?? `${schemeOf(request)}://${request.headers.host ?? "localhost"}`;
}

/** Whether a browser came by https: as the gateway says it, or as this host is reached, which a load balancer that is not trusted cannot tell it. */
export function cameByHttps({ webRoot }: Pick<ApiSettings, "webRoot">, request: FastifyRequest): boolean {
  if (schemeOf(request) === "https") return true;
  if (webRoot === undefined) return false;
  const { protocol, host } = new URL(webRoot);
  return protocol === "https:" && host === request.headers.host;
}

/** As the gateway says it, which says it of every request. */
export function schemeOf(request: FastifyRequest): "http" | "https" {
  return request.headers["x-forwarded-proto"] === "https" ? "https" : "http";
}
