import { type Static, Type } from "typebox";
import { count, nullable, text } from "./schemas.ts";

/** One row of a long list of containers. */
const CONTAINER_ROW = Type.Object({
  id: text,
  name: text,
  status: text,
  note: nullable(text),
  image: Type.String({ description: "its reference" }),
  imageId: text,
  cpu: Type.Number({ description: "reserved cores" }),
  memoryMb: Type.Number({ description: "reserved MiB" }),
  cpuUse: nullable(Type.Number({ description: "cores that it used in the last seconds; null: it does not run, or is not measured yet" })),
  memoryUseMb: nullable(Type.Number({ description: "MiB that it uses; null as above" })),
  lastActive: nullable(text),
  mayManage: Type.Boolean({ description: "the caller may start, stop and remove it" }),
});
export type ContainerRowJson = Static<typeof CONTAINER_ROW>;

export const CONTAINER_GROUPS = ["running", "sleeping", "moving", "failed"] as const;
export const CONTAINER_PAGE = Type.Object({
  total: Type.Integer({ description: "rows that match" }),
  groups: Type.Object(
    { running: count, sleeping: count, moving: count, failed: count },
    { description: "how many match `search` and `mine` in each group of statuses" },
  ),
  rows: Type.Array(CONTAINER_ROW),
});
export type ContainerPageJson = Static<typeof CONTAINER_PAGE>;
