import type { FastifyInstance } from "fastify";
import { permissionLines, preflightLines } from "../../lib/browser-requests.ts";
import { headerOf } from "./sign-in.ts";

/** Lets pages of these origins call the API and read its answers; their preflights, which show no credential, are answered before anybody asks for one. */
export function permitPages(app: FastifyInstance, origins: readonly string[]): void {
  app.addHook("onRequest", async (request, reply) => {
    const lines = preflightLines(request.method, headerOf(request.headers), origins);
    return lines && reply.code(204).headers(Object.fromEntries(lines)).send();
  });
  app.addHook("onSend", async (request, reply) => {
    const names = Object.keys(reply.getHeaders()).map((name) => name.toLowerCase());
    reply.headers(Object.fromEntries(permissionLines(headerOf(request.headers), origins, names)));
  });
}
