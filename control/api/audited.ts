import type { FastifyRequest } from "fastify";
import type { Store } from "../store/open-store.ts";
import { readPackageAddress } from "./package-address.ts";

type Asked = Pick<FastifyRequest, "params" | "query" | "body">;

/** `of` says what it is done to, before it is done. Nothing of it may be secret. */
export type AuditedRoute = { action: string; of?(asked: Asked, store: Store): string | undefined };

const param = (asked: Asked, name: string): string | undefined => (asked.params as Record<string, string | undefined>)[name];
const inBody = (asked: Asked, name: string): string | undefined => {
  const value = (asked.body as Record<string, unknown> | null | undefined)?.[name];
  return typeof value === "string" ? value : undefined;
};

const login: AuditedRoute["of"] = (asked) => param(asked, "login");
const container: AuditedRoute["of"] = (asked, store) => named(store.containers.find(param(asked, "id") ?? "")?.name, param(asked, "id"));
const image: AuditedRoute["of"] = (asked, store) => named(store.images.find(param(asked, "id") ?? "")?.name, param(asked, "id"));
const credentials: AuditedRoute["of"] = (asked) => [param(asked, "scope"), param(asked, "name")].filter(Boolean).join("/");
const imageOf: AuditedRoute["of"] = (asked) => {
  const { repository, digest } = asked.query as { repository?: string; digest?: string };
  return `${repository}@${digest}`;
};
const pack: AuditedRoute["of"] = (asked) => readPackageAddress(asked.params as { name: string }).name;

/**
 * What the audit log calls what a route does; undefined: nothing that it keeps. Every route that changes something stands here, or berth does not start: what
 * somebody adds later shall not go unnoticed.
 */
export const AUDITED: Readonly<Record<string, AuditedRoute | undefined>> = {
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
