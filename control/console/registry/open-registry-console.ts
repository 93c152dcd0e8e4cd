import { fastify, type FastifyInstance } from "fastify";
import { Fault } from "../../../lib/fault.ts";
import { maskedPath } from "../../../lib/masked-path.ts";
import type { RegistryBrowser } from "../../../gateway/contract.ts";
import type { Log } from "../../../lib/log.ts";
import { sendErrors } from "../../api/api-error.ts";
import { NO_USAGE, type TagPush } from "../../api/registry-usage.ts";
import { registryRoutes } from "../../api/registry.ts";
import { responses, USER } from "../../api/schemas.ts";
import { type ControlListenerOptions, openControlListener } from "../../api/control-listener.ts";
import { consolePages } from "../console-pages.ts";
import { signInRoutes } from "../sign-in-routes.ts";
import { COOKIE, createRegistrySignIn, type RegistrySignInDeps } from "./registry-sign-in.ts";

export type RegistryConsoleDeps = RegistrySignInDeps &
  Pick<ControlListenerOptions, "handle" | "tls"> & {
    registry: RegistryBrowser;
    pushOf(repository: string, tag: string): Promise<TagPush>;
    /** Whether the client came by https, here or to a load balancer in front. */
    isSecure: Parameters<typeof signInRoutes>[1]["isSecure"];
    log: Log;
  };

/** Nothing longer than a key is sent here. */
const LONGEST_BODY = 16 * 1_024;
const REQUEST_MS = 30_000;
const IDLE_MS = 75_000;
/** A few people with a browser each. */
const MOST_CONNECTIONS = 1_000;

/** The console where there is a registry and no control plane: its pages with the one room, and of the API what that room asks. */
export async function openRegistryConsole(parts: RegistryConsoleDeps): Promise<{ close(): Promise<void> }> {
  const { handle, tls, clock, log } = parts;
  const app = buildApp(parts);
  await app.ready();
  const door = await openControlListener({
    handle,
    tls,
    limits: { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer: app.routing,
    clock,
    log,
  });
  return {
    close: async () => {
      await door.close();
      await app.close();
    },
  };
}

function buildApp(parts: RegistryConsoleDeps): FastifyInstance {
  const { registry, pushOf, isSecure, log } = parts;
  const people = createRegistrySignIn(parts);
  const app = fastify({ exposeHeadRoutes: false, bodyLimit: LONGEST_BODY });
  app.setErrorHandler(sendErrors(log));
  app.setNotFoundHandler((request) => {
    throw new Fault("ROUTE_NOT_FOUND", `There is no ${request.method} ${maskedPath(request.url.split("?", 1)[0] ?? "").slice(0, 200)}.`);
  });
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    await people.admit(request, reply);
  });
  app.addHook("onResponse", async (request, reply) => {
    if (request.method !== "DELETE" || reply.statusCode !== 200) return;
    const { repository, digest: reference } = request.query as { repository: string; digest: string };
    log.info({ repository, reference, by: people.caller(request)?.login, deleted: true }, "an image was deleted");
  });
  consolePages(app, { rooms: ["registry"] });
  signInRoutes(app, { cookie: COOKIE, sessionMs: people.sessionMs, isSecure, signIn: people.signIn, signOut: people.signOut });
  app.get("/api/users/current", { schema: { response: responses(USER) } }, (request) => {
    const { userId: id, login, admin } = people.caller(request) ?? {};
    return { "#type": "User", id, login, friendlyName: login, admin };
  });
  app.register(async (api) => registryRoutes(api, { registry, users: () => NO_USAGE, pushes: (repository) => (tag) => pushOf(repository, tag) }), {
    prefix: "/api",
  });
  return app;
}
