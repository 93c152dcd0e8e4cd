import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import type { Package } from "../model/entities.ts";
import { unscoped } from "../model/names.ts";
import type { Condition } from "../store/listing.ts";
import { isoDate } from "./entities.ts";
import { type ListFields, parseListing } from "./lists.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { count, LIST_QUERY, PACKAGE, text } from "./schemas.ts";

const GROUP = Type.Object({ "#type": text, id: text, name: text, friendlyName: text });
const NAMED: ListFields = { name: { column: "name" }, friendlyName: { column: "name" } };
const PACKAGES: ListFields = { ...NAMED, author: { column: "author" } };

type ListDeps = Pick<RouteDeps, "store" | "authorization" | "sendList">;

/** Lists that the vendor's command line (`grok server packages list`) requests, and that berth has. */
export function serverListRoutes({ store, authorization, sendList }: ListDeps): Route[] {
  const packages = (path: string, deprecated: boolean) =>
    route({
      method: "GET",
      path,
      authorize: "session",
      schema: { tags: ["packages"], summary: "Lists packages", deprecated, querystring: LIST_QUERY, response: Type.Array(PACKAGE) },
      handle: async (request, reply) => {
        const { where, order, limit, offset = 0 } = parseListing(request.query, PACKAGES);
        const all = await store.packages.all();
        const authors = where.some(({ columns }) => columns.includes("author"))
          ? await store.users.logins(all.map(({ authorId }) => authorId))
          : undefined;
        const listed = all.filter(({ name, authorId }) => holds(where, { name, author: authors?.get(authorId) ?? "" }));
        // By name unless the client wants the reverse.
        const ordered = order?.descending ? listed.toReversed() : listed;
        const page = new Map(ordered.slice(offset, limit === undefined ? undefined : offset + limit).map((one) => [one.id, one]));
        const logins = await store.users.logins([...page.values()].map(({ authorId }) => authorId));
        return sendList(reply, {
          userId: authorization.caller(request).userId,
          limit,
          ids: async () => [...page.keys()],
          rows: async (ids) => ids.flatMap((id) => packageToJson(page.get(id), logins)),
        });
      },
    });
  const groupsOf = async ({ userId, admin }: { userId: string; admin: boolean }) => (admin ? store.groups.all() : store.groups.ofUser(userId));
  const named = (names: readonly string[], where: readonly Condition[]) => names.filter((name) => holds(where, { name }));

  return [
    packages("/public/v1/packages", false),
    packages("/packages", true),
    route({
      method: "GET",
      path: "/groups",
      authorize: "session",
      schema: {
        tags: ["users"],
        summary: "Lists groups: the caller's, or with administration all",
        querystring: LIST_QUERY,
        response: Type.Array(GROUP),
      },
      handle: async (request) => {
        const { where, limit, offset = 0 } = parseListing(request.query, NAMED);
        const names = named(await groupsOf(authorization.caller(request)), where);
        return names.slice(offset, limit === undefined ? undefined : offset + limit).map((name) => groupToJson(name));
      },
    }),
    route({
      method: "GET",
      path: "/groups/count",
      authorize: "session",
      schema: { tags: ["users"], summary: "Counts the groups of the list", querystring: LIST_QUERY, response: count },
      handle: async (request) => named(await groupsOf(authorization.caller(request)), parseListing(request.query, NAMED).where).length,
    }),
  ];
}

/** As the store does: whatever the case, and a condition holds where one of its columns does. */
function holds(where: readonly Condition[], row: Readonly<Record<string, string>>): boolean {
  return where.every(({ columns, holds: how, value }) =>
    columns.some((column) => {
      const [own, sought] = [(row[column] ?? "").toLowerCase(), String(value).toLowerCase()];
      return how === "contains" ? own.includes(sought) : (own === sought) === (how === "is");
    }),
  );
}

function packageToJson(one: Package | undefined, logins: ReadonlyMap<string | undefined, string>) {
  if (!one) return [];
  const { id, name, version, authorId, createdOn, updatedOn } = one;
  const dates = { createdOn: isoDate(createdOn), updatedOn: isoDate(updatedOn) };
  const publishedVersions = [{ id, version, isCurrent: true }];
  return [{ "#type": "Package", id, name, friendlyName: unscoped(name), version, author: logins.get(authorId) ?? "", ...dates, publishedVersions }];
}

/** Groups have no id here but their name. */
function groupToJson(name: string) {
  return { "#type": "UserGroup", id: name, name, friendlyName: name };
}

const ELSEWHERE = "berth runs containers and has no";

/** What a Datagrok server has at these paths, the longest first, and what to do about it. */
const OF_A_SERVER: readonly (readonly [path: string, sentence: string])[] = [
  ["/users/sessions", "A session here has administration if it was requested at sign-in: users/login/dev?administration=true."],
  ["/public/v1/users", "berth changes users with `berth users`, or POST, PATCH and DELETE /api/users."],
  ["/public/v1/groups", "berth changes groups with `berth users`, or PATCH /api/users/{login}."],
  ["/public/v1/healthcheck", "berth reports its health at GET /api/admin/health, and administrators see more at GET /api/admin/stand."],
  ["/public/v1/packages", "berth has the list of packages only. Publish with `grok publish` or `berth publish`."],
  ["/packages/published", "berth has the list of packages only, at GET /api/public/v1/packages."],
  ["/public/v1/functions", `${ELSEWHERE} functions.`],
  ["/log/funcs", `${ELSEWHERE} functions.`],
  ["/functions", `${ELSEWHERE} functions.`],
  ["/scripts", `${ELSEWHERE} scripts.`],
  ["/connectors/queries", `${ELSEWHERE} queries.`],
  ["/connectors", `${ELSEWHERE} data connections but those that packages bring for their containers.`],
  ["/public/v1/connections", `${ELSEWHERE} data connections but those that packages bring for their containers.`],
  ["/public/v1/files", `${ELSEWHERE} files.`],
  ["/public/v1/tables", `${ELSEWHERE} tables.`],
  ["/tables", `${ELSEWHERE} tables.`],
  ["/reports", `${ELSEWHERE} reports.`],
  ["/projects", `${ELSEWHERE} projects.`],
  ["/domains", `${ELSEWHERE} domains.`],
  ["/entities", `${ELSEWHERE} entities but images and containers.`],
  ["/privileges", `${ELSEWHERE} privileges: users of one group manage each other's packages.`],
  ["/public/v1", `${ELSEWHERE} such part of the public API.`],
];

/** Answers 501 with one sentence for what a Datagrok server has and berth has not, whatever the method and body. */
export function refuseServerPaths(app: FastifyInstance): void {
  app.addHook("onRequest", async (request) => {
    const path = request.url.split("?", 1)[0] ?? "";
    if (!request.is404 || !path.startsWith("/api/")) return;
    const rest = path.slice("/api".length);
    const route = OF_A_SERVER.find(([prefix]) => rest === prefix || rest.startsWith(`${prefix}/`));
    if (route) throw new Fault("NOT_PROVIDED", route[1]);
  });
}
