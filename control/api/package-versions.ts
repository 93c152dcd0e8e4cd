import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { requireManage } from "../identity/rights.ts";
import type { Package } from "../model/entities.ts";
import { wasGood } from "../packages/publish/earlier-version.ts";
import { clientAbortSignal } from "./api-error.ts";
import { isoDate } from "./entities.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { PACKAGE_VERSIONS, type PackageVersionJson, paramsOf, text } from "./schemas.ts";

const ROLLED_BACK = Type.Object({ name: text, restored: Type.Integer(), version: text });
const UNPUBLISHED = Type.Object({ name: text, containers: Type.Array(text) });

/** A slash after the scope, or one that is encoded. */
const PATHS = ["/packages/published/:name", "/packages/published/:scope/:name"] as const;

/** The versions of published packages, for their authors. */
export function packageVersionRoutes({ store, publisher, authorization }: RouteDeps): Route[] {
  const tags = ["packages"];
  const nameOf = ({ scope, name = "" }: Partial<Record<string, string>>) => (scope === undefined ? name : `${scope}/${name}`);
  const find = async (name: string): Promise<Package> => {
    const owner = await store.packages.byName(name);
    if (!owner) throw new Fault("PACKAGE_NOT_FOUND", `There is no package ${name}.`);
    return owner;
  };

  const routesOf = (path: string): Route[] => {
    const params = paramsOf(path);
    return [
      route({
        method: "GET",
        path: `${path}/versions`,
        authorize: "session",
        schema: { tags, summary: "Lists the versions of a package that can be restored, the newest first", params, response: PACKAGE_VERSIONS },
        handle: async (request) => {
          const owner = await find(nameOf(request.params));
          await requireManage(store, authorization.caller(request), owner.id);
          const versions = await store.packageVersions.of(owner.id);
          const counts = await store.packageVersions.counts(owner.id);
          const logins = await store.users.logins(versions.map(({ byUser }) => byUser));
          const current = (await store.images.byPackage(owner.id)).filter(({ state }) => state !== "DELETED").length;
          return {
            name: owner.name,
            versions: versions.map((one): PackageVersionJson => ({
              number: one.number,
              version: one.version,
              publishedOn: isoDate(one.publishedOn),
              by: logins.get(one.byUser) ?? null,
              restores: one.restores ?? null,
              replacedOn: one.replacedOn === undefined ? null : isoDate(one.replacedOn),
              containers: one.replacedOn === undefined ? current : (counts.get(one.id)?.folders ?? 0),
              good: one.replacedOn === undefined ? null : wasGood(counts.get(one.id)),
            })),
          };
        },
      }),
      route({
        method: "POST",
        path: `${path}/rollback`,
        authorize: "session",
        audit: { action: "packageRolledBack", target: ({ params: of }) => nameOf(of) },
        schema: {
          tags,
          summary: "Publishes an earlier version of a package again: its images and its definitions",
          description: "Connections and credentials of the package stay as they are. Without `to`, the newest earlier version that was good.",
          params,
          body: Type.Object({ to: Type.Optional(Type.Integer({ minimum: 1, description: "the number of the version" })) }),
          response: ROLLED_BACK,
        },
        handle: async (request, reply) => {
          const { userId: id, login, admin } = authorization.caller(request);
          const { name } = await find(nameOf(request.params));
          const { restored } = await publisher.rollBack({ name, user: { id, login, admin }, to: request.body.to, signal: clientAbortSignal(reply) });
          return { name, restored: restored.number, version: restored.version };
        },
      }),
      route({
        method: "DELETE",
        path,
        authorize: "session",
        audit: { action: "packageUnpublished", target: ({ params: of }) => nameOf(of) },
        schema: {
          tags,
          summary: "Removes all containers and images of a package",
          description:
            "The package keeps its names, credentials and versions: a rollback or another publish brings its containers back with the same ids.",
          params,
          querystring: Type.Object({ dryRun: Type.Optional(Type.Boolean({ default: false, description: "only list the containers" })) }),
          response: UNPUBLISHED,
        },
        handle: async (request, reply) => {
          const caller = authorization.caller(request);
          const owner = await find(nameOf(request.params));
          await requireManage(store, caller, owner.id);
          const containers = (await store.containers.byPackage(owner.id)).map(({ name }) => name).toSorted();
          const user = { id: caller.userId, login: caller.login, admin: caller.admin };
          if (!request.query.dryRun) await publisher.unpublish({ name: owner.name, user, signal: clientAbortSignal(reply) });
          return { name: owner.name, containers };
        },
      }),
    ];
  };
  return PATHS.flatMap(routesOf);
}
