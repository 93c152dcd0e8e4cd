import { type Static, Type } from "typebox";
import { createManageCheck } from "../identity/rights.ts";
import type { ResourceUse } from "../lifecycle/record-series.ts";
import type { ContainerState } from "../model/states.ts";
import type { Condition, Listing } from "../store/listing.ts";
import { createContainerToJson, findLiveContainers, type ContainerToJson, type LiveContainer } from "./entities.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { CONTAINER_GROUPS, CONTAINER_PAGE, type ContainerRowJson } from "./row-schemas.ts";
import { oneOf } from "./schemas.ts";

type ContainerGroup = (typeof CONTAINER_GROUPS)[number];

const GROUP_OF: Record<ContainerState, ContainerGroup> = {
  PENDING_START: "moving",
  STARTING: "moving",
  STARTED: "running",
  CHECKING: "moving",
  PENDING_USER_STOP: "moving",
  PENDING_SYSTEM_STOP: "moving",
  STOPPING: "moving",
  USER_STOPPED: "sleeping",
  SYSTEM_STOPPED: "sleeping",
  ERROR: "failed",
};

const SORTS: Record<string, Pick<NonNullable<Listing["order"]>, "column" | "member">> = {
  name: { column: "name" },
  status: { column: "state" },
  image: { column: "image_id" },
  cpu: { column: "config", member: "cpu" },
  memory: { column: "config", member: "memoryMb" },
  lastActive: { column: "last_active" },
};

const MEBIBYTE = 1_048_576;
/** Rows are short, so a page of them is written within a millisecond. */
const MOST_ROWS = 200;

const QUERY = Type.Object({
  search: Type.Optional(Type.String({ maxLength: 200, description: "a part of the name, in any case" })),
  group: Type.Optional(oneOf(CONTAINER_GROUPS, { description: "statuses; `moving`: neither running, stopped nor failed" })),
  image: Type.Optional(Type.String({ maxLength: 100, description: "only containers of the image with this id" })),
  mine: Type.Optional(Type.Boolean({ default: false, description: "only containers of packages that the caller published" })),
  sort: Type.Optional(oneOf(Object.keys(SORTS), { description: "by name without it" })),
  descending: Type.Optional(Type.Boolean({ default: false })),
  offset: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000_000, default: 0 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_ROWS, default: MOST_ROWS })),
});

/** Containers as rows of a table, a page at a time: ten thousand whole entities are twenty megabytes. */
export function containerRowRoutes({ store, lifecycle, authorization, lastUse }: RouteDeps): Route[] {
  const containerToJson = createContainerToJson(lifecycle);
  return [
    route({
      method: "GET",
      path: "/docker/containers/rows",
      authorize: "session",
      schema: { tags: ["docker containers"], summary: "Lists containers as short rows, with counts", querystring: QUERY, response: CONTAINER_PAGE },
      handle: async (request) => {
        const { query } = request;
        const caller = authorization.caller(request);
        const common = conditionsOf(query, caller.userId);
        const where = query.group === undefined ? common : [...common, inGroup(query.group)];
        const { offset = 0, limit = MOST_ROWS } = query;
        const [states, ids] = await Promise.all([
          store.containers.countByState({ where: common }),
          store.containers.ids({ where, offset, limit, ...orderOf(query) }),
        ]);
        const groups = countGroups(states);
        const mayManage = createManageCheck(store, caller);
        const rows = (await findLiveContainers(store, ids)).map(async (live) =>
          rowOf(containerToJson, live, await mayManage(live.container.packageId), lastUse(live.container.id)),
        );
        const total = query.group === undefined ? Object.values(groups).reduce((sum, count) => sum + count, 0) : groups[query.group];
        return { total, groups, rows: await Promise.all(rows) };
      },
    }),
  ];
}

function conditionsOf({ search = "", image, mine }: Static<typeof QUERY>, userId: string): Condition[] {
  return [
    ...(search.trim() === "" ? [] : [{ columns: ["name", "friendly_name"], holds: "contains", value: search.trim() } as const]),
    ...(image === undefined ? [] : [{ columns: ["image_id"], holds: "is", value: image } as const]),
    ...(mine === true ? [{ columns: ["package_id"], holds: "authoredBy", value: userId } as const] : []),
  ];
}

function inGroup(group: ContainerGroup): Condition {
  const states = Object.entries(GROUP_OF).flatMap(([state, of]) => (of === group ? [state] : []));
  return { columns: ["state"], holds: "among", value: JSON.stringify(states) };
}

function orderOf({ sort, descending = false }: Static<typeof QUERY>): Pick<Listing, "order"> {
  const by = SORTS[sort ?? "name"];
  return by === undefined ? {} : { order: { ...by, descending } };
}

function countGroups(states: readonly { state: string; count: number }[]): Record<ContainerGroup, number> {
  const groups = { running: 0, sleeping: 0, moving: 0, failed: 0 };
  for (const { state, count } of states) groups[GROUP_OF[state as ContainerState]] += count;
  return groups;
}

function rowOf(containerToJson: ContainerToJson, live: LiveContainer, mayManage: boolean, use: ResourceUse | undefined): ContainerRowJson {
  const { id, name, status, note, lastActive, dockerImage } = containerToJson(live, mayManage, "short");
  const { cpu, memoryMb } = live.container.config;
  const { cpu: cpuUse = null, memoryBytes } = use ?? {};
  const memoryUseMb = memoryBytes === undefined ? null : memoryBytes / MEBIBYTE;
  return { id, name, status, note, image: dockerImage, imageId: live.image.id, cpu, memoryMb, cpuUse, memoryUseMb, lastActive, mayManage };
}
