import type { FastifyInstance, FastifyRequest } from "fastify";
import { isSafe } from "../../lib/browser-requests.ts";
import { CLIENT_ADDRESS_HEADER } from "../../gateway/contract.ts";
import type { Admission } from "./authorization.ts";
import type { ApiParts } from "./api-deps.ts";
import { AUDITED, type AuditedRoute } from "./audited.ts";
import { headerOf } from "./sign-in.ts";

const LONGEST_TEXT = 300;
const SANE_ID = /^[\w.:+/=@-]{1,128}$/;

export type KeptAudit = {
  /** What was asked for is wished from here on: it is kept even where its outcome, which the caller waits for, is a failure. */
  wished(request: FastifyRequest): void;
};

/**
 * Writes down who did what, durably before the answer says that it is done: where it cannot be written, the caller hears of that in the answer's place. What was
 * refused did not happen, and is counted only.
 */
export function keepAudit(app: FastifyInstance, parts: Pick<ApiParts, "store" | "audit">, admission: Pick<Admission, "actor">): KeptAudit {
  const { store, audit } = parts;
  const begun = new WeakMap<FastifyRequest, { row: AuditedRoute; target: string | undefined }>();
  const wished = new WeakSet<FastifyRequest>();

  app.addHook("onRoute", ({ method, url, config }) => {
    for (const verb of [method].flat()) {
      const key = `${verb} ${url}`;
      if ((config?.mutates ?? !isSafe(verb)) && !(key in AUDITED)) throw new Error(`${key} changes something: AUDITED says nothing of it`);
    }
  });
  app.addHook("preHandler", async (request) => {
    const row = AUDITED[`${request.method} ${request.routeOptions.url}`];
    if (row) begun.set(request, { row, target: row.of?.(request, store)?.slice(0, LONGEST_TEXT) });
  });

  const write = (request: FastifyRequest, status: number | undefined) => {
    const found = begun.get(request);
    if (found === undefined) return;
    begun.delete(request);
    const actor = admission.actor(request);
    const header = headerOf(request.headers);
    const requestId = header("x-request-id");
    audit.append({
      action: found.row.action,
      target: found.target,
      userId: actor?.userId,
      login: actor?.login,
      via: actor?.by,
      address: header(CLIENT_ADDRESS_HEADER)?.slice(0, LONGEST_TEXT),
      requestId: requestId !== undefined && SANE_ID.test(requestId) ? requestId : undefined,
      status,
    });
  };

  app.addHook("onSend", async (request, reply) => {
    if (reply.statusCode < 400 || wished.has(request)) write(request, reply.statusCode);
    else begun.delete(request);
  });
  // Who waits for a whole start may be gone before it is there; it was wished all the same.
  app.addHook("onRequestAbort", async (request) => write(request, undefined));
  return { wished: (request) => void wished.add(request) };
}
