import { fastify, type FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { RegistryBrowser } from "../../../gateway/contract.ts";
import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { maskedPath } from "../../../lib/masked-path.ts";
import { sendErrors } from "../../api/api-error.ts";
import { type ControlListenerOptions, openControlListener } from "../../api/control-listener.ts";
import { NO_USAGE, registryRoutes, type TagPush } from "../../api/registry.ts";
import { addRoutes, route } from "../../api/route.ts";
import { USER } from "../../api/schemas.ts";
import { consolePageRoutes } from "../console-routes.ts";
import { consoleSignInRoutes, type SignInRouteDeps } from "../sign-in.ts";
import { COOKIE, createRegistrySignIn, type RegistrySignInDeps } from "./registry-sign-in.ts";

export type RegistryConsoleDeps = RegistrySignInDeps &
  Pick<ControlListenerOptions, "handle" | "tls"> & {
    registry: RegistryBrowser;
    pushOf(repository: string, tag: string): Promise<TagPush>;
    /** Whether the client came by https, here or to a load balancer in front. */
    isSecure: SignInRouteDeps["isSecure"];
    log: Log;
  };

/** Nothing longer than a key is sent here. */
const LONGEST_BODY = 16 * 1_024;
const REQUEST_MS = 30_000;
const IDLE_MS = 75_000;
/** Enough for a few users. */
const MOST_CONNECTIONS = 1_000;

/** The console of a registry without a control plane: its page with one section, and the routes of the API that this section uses. */
export async function openRegistryConsole(deps: RegistryConsoleDeps): Promise<{ close(): Promise<void> }> {
  const { handle, tls, clock, log } = deps;
  const app = createRegistryConsole(deps);
  await app.ready();
  const listener = await openControlListener({
    handle,
    tls,
    limits: { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer: app.routing,
    clock,
    log,
  });
  return {
    close: async () => {
      await listener.close();
      await app.close();
    },
  };
}

function createRegistryConsole(deps: RegistryConsoleDeps): FastifyInstance {
  const { registry, pushOf, isSecure, log } = deps;
  const signIn = createRegistrySignIn(deps);
  const app = fastify({ exposeHeadRoutes: false, bodyLimit: LONGEST_BODY });
  app.setErrorHandler(sendErrors(log));
  app.setNotFoundHandler((request) => {
    throw new Fault("ROUTE_NOT_FOUND", `There is no ${request.method} ${maskedPath(request.url.split("?", 1)[0] ?? "").slice(0, 200)}.`);
  });
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addHook("onRequest", async (request, reply) => {
    reply.header("cache-control", "no-store");
    await signIn.authorize(request, reply);
  });
  app.addHook("onResponse", async (request, reply) => {
    if (request.method !== "DELETE" || reply.statusCode !== 200) return;
    const { repository, digest: reference } = request.query as { repository: string; digest: string };
    log.info({ repository, reference, by: signIn.caller(request)?.login, deleted: true }, "image deleted");
  });
  addRoutes(app, [
    ...consolePageRoutes({ sections: ["registry"] }),
    ...consoleSignInRoutes({ cookie: COOKIE, sessionMs: signIn.sessionMs, isSecure, signIn: signIn.signIn, signOut: signIn.signOut }),
    route({
      method: "GET",
      path: "/api/users/current",
      authorize: "session",
      schema: { response: Type.Partial(USER) },
      handle: async (request) => {
        const { userId: id = "", login = "", admin = false } = signIn.caller(request) ?? {};
        return { "#type": "User", id, login, friendlyName: login, admin };
      },
    }),
  ]);
  app.register(
    async (api) => {
      const pushes = async (repository: string) => (tag: string) => pushOf(repository, tag);
      addRoutes(api, registryRoutes({ registry, usage: async () => NO_USAGE, pushes }));
    },
    { prefix: "/api" },
  );
  return app;
}

/** As the registry proxy sees them go by; `reference` is a tag or a digest. */
type ObservedPush = { repository: string; reference: string; by?: string; deleted?: true };

export type RecentPushes = {
  record(seen: ObservedPush): void;
  of(repository: string, reference: string): TagPush | undefined;
};

const MOST = 5_000;

/** The last pushes that this process passed on, in memory alone: a registry itself does not keep who pushed. With more, the oldest is forgotten. */
export function createRecentPushes({ clock, most = MOST }: { clock: Clock; most?: number }): RecentPushes {
  const pushes = new Map<string, TagPush>();
  return {
    record: ({ repository, reference, by, deleted }) => {
      const key = `${repository} ${reference}`;
      // Last in the map is what was pushed last.
      pushes.delete(key);
      if (deleted) return;
      pushes.set(key, { at: clock.now(), by });
      const [oldest] = pushes.keys();
      if (pushes.size > most && oldest !== undefined) pushes.delete(oldest);
    },
    of: (repository, reference) => pushes.get(`${repository} ${reference}`),
  };
}
