import type { FaultData } from "../../fault.ts";
import type { ContainerState } from "../lifecycle/container-states.ts";
import { json, oneOf, optional, text, whole } from "./columns.ts";
import type { Container, ContainerConfig, Deployed, WishedFor } from "./entities.ts";
import { listingsOf } from "./listing.ts";
import { causeOf, historyIn, type Reason } from "./history.ts";
import { type Columns, rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { wakesIn } from "./wakes.ts";

/** One whose folder its package no longer has is gone for clients, even where its row is not yet. */
const LIVE = "image_id NOT IN (SELECT id FROM images WHERE state = 'DELETED')";

/** What a look at every container needs of each, without the logs and texts that make up most of a row. */
export type BriefContainer = Pick<Container, "id" | "service" | "generation" | "desiredInstances" | "state" | "fault" | "address">;

export type Containers = ReturnType<typeof containersIn>;

export function containersIn(sql: Sql) {
  const brief: Columns<BriefContainer> = {
    id: text(),
    service: text(),
    generation: whole(),
    desiredInstances: oneOf<0 | 1>(),
    state: text<ContainerState>(),
    fault: optional(json<FaultData>()),
    address: optional(json<{ host: string; port: number }>()),
  };
  const briefs = rowsOf<BriefContainer>(sql, "containers", "id", brief);
  const rows = rowsOf<Container>(sql, "containers", "id", {
    ...brief,
    packageId: text(),
    imageId: text(),
    folder: text(),
    name: text(),
    friendlyName: text(),
    config: json<ContainerConfig>(),
    env: json<Record<string, string>>(),
    wishedBy: optional(text()),
    wishedOn: whole(),
    wishedFor: optional(text<WishedFor>()),
    stopFor: optional(text<"user" | "system">()),
    since: whole(),
    runningGeneration: optional(whole()),
    deployed: optional(json<Deployed>()),
    phases: optional(json<NonNullable<Container["phases"]>>()),
    attempts: whole(),
    notBefore: whole(),
    lastLogs: text(),
    lastActive: whole(),
    createdOn: whole(),
    updatedOn: whole(),
  });
  const history = historyIn(sql);
  const wakes = wakesIn(sql);
  return {
    find: rows.find,
    all: () => rows.where("TRUE ORDER BY name, id"),
    briefs: () => briefs.where("TRUE ORDER BY name, id"),
    /** Of a time that has not come: their state was entered after `now`, or nothing is tried before `latest`. */
    ofTheFuture: (now: number, latest: number) => rows.where("since > ? OR not_before > ?", Math.trunc(now), Math.trunc(latest)),
    byPackage: (packageId: string) => rows.where("package_id = ? ORDER BY name, id", packageId),
    byImage: (imageId: string) => rows.where("image_id = ? ORDER BY name, id", imageId),
    ...listingsOf(sql, "containers", LIVE, rows),
    /** Their names at the orchestrator. */
    services: () => sql.all<{ service: string }>(`SELECT service FROM containers WHERE ${LIVE} ORDER BY service`).map(({ service }) => service),
    /** What their containers run, or may: only of one that is stopped it is known that nothing does. */
    deployed: () => rows.where("deployed IS NOT NULL AND state NOT IN ('USER_STOPPED', 'SYSTEM_STOPPED')").flatMap(({ deployed }) => deployed ?? []),
    byService: (service: string) => rows.where("service = ?", service)[0],
    insert: (container: Container) =>
      sql.transaction(() => {
        sql.run("DELETE FROM tombstones WHERE id = ?", container.id);
        return rows.insert(container);
      }),
    /** For everything but `state`, which only moves. */
    update: (id: string, patch: Partial<Omit<Container, "id" | "state">>) => rows.update(id, patch),
    /** Compare-and-set: undefined where the container is no longer in `from`. With a reason, its history tells of it. */
    move: (id: string, from: ContainerState, to: ContainerState, patch: Partial<Omit<Container, "id" | "state">>, reason?: Reason) =>
      sql.transaction(() => {
        const moved = rows.updateWhere(id, { ...patch, state: to }, "state = ?", from);
        if (moved && reason) history.append({ entity: id, fromState: from, toState: to, cause: causeOf(patch.fault), ...reason });
        return moved;
      }),
    /** `lastActive` (epoch ms) of many at once, in one transaction; it never goes back. */
    touch: (lastActive: ReadonlyMap<string, number>) =>
      sql.transaction(() => {
        for (const [id, at] of lastActive) {
          sql.run("UPDATE containers SET last_active = max(last_active, ?) WHERE id = ?", Math.trunc(at), id);
        }
      }),
    /** Leaves a tombstone and no history; false where there was no such container. */
    remove: (id: string, now: number): boolean =>
      sql.transaction(() => {
        const kept = sql.run(
          "INSERT OR REPLACE INTO tombstones (id, service, removed_on, cleared_on) SELECT id, service, ?, NULL FROM containers WHERE id = ?",
          Math.trunc(now),
          id,
        );
        if (kept > 0) for (const kind of [history, wakes]) kind.forget(id);
        return kept > 0 && rows.remove(id);
      }),
  };
}
