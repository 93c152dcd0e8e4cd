import type { FastifyInstance, FastifyRequest } from "fastify";
import { isSafe } from "../../lib/browser-requests.ts";
import { CLIENT_ADDRESS_HEADER } from "../../gateway/contract.ts";
import { type Authorization, headerOf } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { Store } from "../store/open-store.ts";
import { parsePackageAddress } from "./packages.ts";

const LONGEST_TEXT = 300;
const SANE_ID = /^[\w.:+/=@-]{1,128}$/;

export type AuditRecorder = {
  /** What was asked for is wished from here on: it is kept even where its outcome, which the caller waits for, is a failure. */
  accepted(request: FastifyRequest): void;
};

/**
 * Writes down who did what, durably before the answer says that it is done: where it cannot be written, the caller hears of that in the answer's place. What was
 * refused did not happen, and is counted only.
 */
export function recordAudit(app: FastifyInstance, parts: Pick<ApiDeps, "store" | "audit">, admission: Pick<Authorization, "actor">): AuditRecorder {
  const { store, audit } = parts;
  const begun = new WeakMap<FastifyRequest, { row: RouteAudit; target: string | undefined }>();
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
  return { accepted: (request) => void wished.add(request) };
}

type AuditedRequest = Pick<FastifyRequest, "params" | "query" | "body">;

/** `of` says what it is done to, before it is done. Nothing of it may be secret. */
export type RouteAudit = { action: string; of?(asked: AuditedRequest, store: Store): string | undefined };

const param = (asked: AuditedRequest, name: string): string | undefined => (asked.params as Record<string, string | undefined>)[name];
const inBody = (asked: AuditedRequest, name: string): string | undefined => {
  const value = (asked.body as Record<string, unknown> | null | undefined)?.[name];
  return typeof value === "string" ? value : undefined;
};

const login: RouteAudit["of"] = (asked) => param(asked, "login");
const container: RouteAudit["of"] = (asked, store) => named(store.containers.find(param(asked, "id") ?? "")?.name, param(asked, "id"));
const image: RouteAudit["of"] = (asked, store) => named(store.images.find(param(asked, "id") ?? "")?.name, param(asked, "id"));
const credentials: RouteAudit["of"] = (asked) => [param(asked, "scope"), param(asked, "name")].filter(Boolean).join("/");
const imageOf: RouteAudit["of"] = (asked) => {
  const { repository, digest } = asked.query as { repository?: string; digest?: string };
  return `${repository}@${digest}`;
};
const pack: RouteAudit["of"] = (asked) => parsePackageAddress(asked.params as { name: string }).name;

/**
 * What the audit log calls what a route does; undefined: nothing that it keeps. Every route that changes something stands here, or berth does not start: what
 * somebody adds later shall not go unnoticed.
 */
export const AUDITED: Readonly<Record<string, RouteAudit | undefined>> = {
  "POST /api/users/login/dev": { action: "signedIn" },
  "POST /api/users/login/dev/:key": { action: "signedIn" },
  "POST /api/users/logout": { action: "signedOut" },
  "POST /console/sign-in": { action: "signedIn" },
  "POST /console/sign-out": { action: "signedOut" },
  "POST /api/users": { action: "userAdded", of: (asked) => inBody(asked, "login") },
  "PATCH /api/users/:login": { action: "userChanged", of: login },
  "DELETE /api/users/:login": { action: "userRemoved", of: login },
  "POST /api/users/:login/keys": { action: "keyMade", of: login },
  "DELETE /api/users/:login/keys/:id": { action: "keyRevoked", of: (asked) => named(param(asked, "login"), param(asked, "id")) },
  "POST /api/docker/containers": { action: "containerSaved", of: (asked) => inBody(asked, "name") ?? inBody(asked, "id") },
  "DELETE /api/docker/containers/:id": { action: "containerDeleted", of: container },
  "GET /api/docker/containers/:id/run": { action: "containerStarted", of: container },
  "GET /api/docker/containers/:id/stop": { action: "containerStopped", of: container },
  "GET /api/docker/images/:id/revalidate": { action: "imageRevalidated", of: image },
  "POST /api/packages/dev/:name": { action: "packagePublished", of: pack },
  "POST /api/packages/dev/:first/:name": { action: "packagePublished", of: pack },
  "POST /api/packages/dev/:key/:scope/:name": { action: "packagePublished", of: pack },
  "POST /api/credentials/for/:name": { action: "credentialsReplaced", of: credentials },
  "POST /api/credentials/for/:scope/:name": { action: "credentialsReplaced", of: credentials },
  "PATCH /api/credentials/for/:name": { action: "credentialsSet", of: credentials },
  "PATCH /api/credentials/for/:scope/:name": { action: "credentialsSet", of: credentials },
  "DELETE /api/credentials/for/:name": { action: "credentialsRemoved", of: credentials },
  "DELETE /api/credentials/for/:scope/:name": { action: "credentialsRemoved", of: credentials },
  "POST /api/credentials/rotate": { action: "credentialsKeyRotated" },
  "POST /api/admin/keys/rotate": { action: "signingKeyRotated" },
  "DELETE /api/admin/keys/:kid": { action: "signingKeyRevoked", of: (asked) => param(asked, "kid") },
  "DELETE /api/admin/orphans": { action: "orphanRemoved", of: (asked) => (asked.query as { service?: string }).service },
  "DELETE /api/docker/registry/images": { action: "imageDeleted", of: imageOf },
  "PUT /api/docker/registry/owner": { action: "repositoryAssigned", of: (asked) => named(inBody(asked, "repository"), inBody(asked, "login")) },
  "POST /api/admin/import": {
    action: "imported",
    of: (asked) => ((asked.body as { dryRun?: unknown } | null)?.dryRun === true ? "dry run" : undefined),
  },
  // Users who open a container's page from the console are signed in already.
  "POST /console/hand-over": undefined,
  "POST /api/users/login/hand-over": undefined,
  // What a container says of itself, again and again.
  "POST /api/docker/containers/:id/lease": undefined,
  // A token for the registry, which every pull asks for; what is pushed with one is kept.
  "POST /api/docker/token": undefined,
};

/** Of the registry: told by its proxy. */
export const IMAGE_ACTIONS = { pushed: "imagePushed", deleted: "imageDeleted" } as const;

function named(name: string | undefined, id: string | undefined): string | undefined {
  return name === undefined ? id : id === undefined ? name : `${name} (${id})`;
}
