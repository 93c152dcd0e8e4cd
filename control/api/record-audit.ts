import type { FastifyInstance, FastifyRequest } from "fastify";
import { isSafe } from "../../lib/browser-requests.ts";
import { CLIENT_ADDRESS_HEADER } from "../../gateway/contract.ts";
import type { AuditAction } from "../model/audit-actions.ts";
import type { AuditEntry } from "../model/records.ts";
import type { ApiDeps } from "./api-deps.ts";
import { type Authorization, headerOf } from "./authorization.ts";

/** What the registry proxy reports. */
export const IMAGE_ACTIONS = { pushed: "imagePushed", deleted: "imageDeleted" } as const satisfies Record<string, AuditAction>;

const LONGEST_TEXT = 300;
const REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;

/** `target` names what the route changes, before it changes it. It must not contain a secret. */
export type RouteAudit<Request = FastifyRequest> = {
  action: AuditAction;
  target?(request: Request): Promise<string | undefined> | string | undefined;
};

declare module "fastify" {
  interface FastifyContextConfig {
    /** `none`: the route changes something that the audit log does not record. */
    audit?: RouteAudit<never> | "none";
    /** A GET that changes something. */
    mutates?: boolean;
  }
}

export type AuditRecorder = {
  /** The request is accepted: the log records it, even if the outcome that the caller waits for is a failure. */
  accepted(request: FastifyRequest): void;
  /** What the request changed, where its address may have another name for it. */
  setTarget(request: FastifyRequest, target: string): void;
  /** Writes an entry about a request that is not over with its response. `requestId`: by which entries belong together, if the client has sent none. */
  append(request: FastifyRequest, entry: { action: AuditAction; target: string; status: number | undefined; requestId: string }): Promise<void>;
};

/**
 * Records who did what. An entry is durable before the response is sent; if it cannot be written, the caller receives that error instead. Refused requests
 * change nothing, and are only counted. A route that changes something and has no `audit` keeps berth from starting: later routes cannot forget it.
 */
export function recordAudit(
  app: FastifyInstance,
  { audit: log }: Pick<ApiDeps, "audit">,
  authorization: Pick<Authorization, "actor">,
): AuditRecorder {
  const begun = new WeakMap<FastifyRequest, { action: AuditAction; target: string | undefined }>();
  const accepted = new WeakSet<FastifyRequest>();

  app.addHook("onRoute", ({ method, url, config }) => {
    for (const verb of [method].flat())
      if ((config?.mutates ?? !isSafe(verb)) && config?.audit === undefined) throw new Error(`${verb} ${url} changes something, and has no audit`);
  });
  app.addHook("preHandler", async (request) => {
    const { audit } = request.routeOptions.config;
    if (audit === undefined || audit === "none") return;
    // Routes are declared with the type of their own requests.
    const { action, target } = audit as RouteAudit;
    begun.set(request, { action, target: (await target?.(request))?.slice(0, LONGEST_TEXT) });
  });

  const append = async (request: FastifyRequest, { requestId: own, ...entry }: Pick<AuditEntry, "action" | "target" | "status" | "requestId">) => {
    const actor = authorization.actor(request);
    const header = headerOf(request.headers);
    const requestId = header("x-request-id");
    await log.append({
      ...entry,
      userId: actor?.userId,
      login: actor?.login,
      via: actor?.by.slice(0, LONGEST_TEXT),
      address: header(CLIENT_ADDRESS_HEADER)?.slice(0, LONGEST_TEXT),
      requestId: requestId !== undefined && REQUEST_ID.test(requestId) ? requestId : own,
    });
  };
  const write = async (request: FastifyRequest, status: number | undefined) => {
    const entry = begun.get(request);
    if (entry === undefined) return;
    begun.delete(request);
    await append(request, { ...entry, status, requestId: undefined });
  };

  app.addHook("onSend", async (request, reply) => {
    if (reply.statusCode < 400 || accepted.has(request)) await write(request, reply.statusCode);
    else begun.delete(request);
  });
  // A client that waits for a start may leave before it ends. The start was accepted all the same.
  app.addHook("onRequestAbort", async (request) => write(request, undefined));
  return {
    accepted: (request) => void accepted.add(request),
    setTarget: (request, target) => {
      const entry = begun.get(request);
      if (entry !== undefined) begun.set(request, { ...entry, target: target.slice(0, LONGEST_TEXT) });
    },
    append: (request, entry) => append(request, { ...entry, target: entry.target.slice(0, LONGEST_TEXT) }),
  };
}

/** A name and an id, where both are known. */
export function namedTarget(name: string | undefined, id: string | undefined): string | undefined {
  return name === undefined ? id : id === undefined ? name : `${name} (${id})`;
}
