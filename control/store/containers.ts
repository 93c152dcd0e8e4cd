import type { ContainerState } from "../model/states.ts";
import type { Container, OwnedAddress } from "../model/entities.ts";
import { listingsOf } from "./listing.ts";
import { causeOf, historyIn, type Reason } from "./history.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { pickColumns, TABLES } from "./tables.ts";
import { wakesIn } from "./wakes.ts";

/** One whose folder its package no longer has is gone for clients, even where its row is not yet. */
const LIVE = "image_id NOT IN (SELECT id FROM images WHERE state = 'DELETED')";

/** All but those that rest as they are wished, which most do. In the words of its index: for others SQLite reads every row. */
const AT_WORK = "NOT (state IN ('USER_STOPPED', 'SYSTEM_STOPPED') AND desired_instances = 0)";

/** What a look at many containers needs of each, without the logs and texts that make up most of a row. */
export type BriefContainer = Pick<Container, "id" | "service" | "generation" | "desiredInstances" | "state" | "since" | "fault" | "address">;

/** What gateways are told of each. */
export type ContainerToView = Pick<
  Container,
  "id" | "name" | "state" | "config" | "desiredInstances" | "stopFor" | "fault" | "address" | "phases" | "notBefore"
>;

/** What a look at those that lie frozen needs of each. */
type PausedContainer = Pick<Container, "id" | "service" | "generation" | "state" | "pausedOn">;

/** Read for each that failed, when the engine is there again. */
type TriedContainer = Pick<Container, "id" | "since" | "fault">;

/** What a publish needs of the containers that its package has, without the texts. */
export type PackageContainer = Pick<
  Container,
  "id" | "packageId" | "imageId" | "folder" | "name" | "service" | "generation" | "runningGeneration" | "createdOn"
>;

/** With what a publish compares what it brings. */
type DefinedContainer = Pick<Container, "id" | "folder" | "config" | "env">;

type PlacedContainer = Pick<Container, "id" | "state" | "wishedBy">;

export type Containers = ReturnType<typeof containersIn>;

export function containersIn(sql: Sql) {
  const paused = rowsOf<PausedContainer>(sql, "containers", "id", pickColumns("containers", "id", "service", "generation", "state", "pausedOn"));
  const tried = rowsOf<TriedContainer>(sql, "containers", "id", pickColumns("containers", "id", "since", "fault"));
  const placed = rowsOf<PlacedContainer>(sql, "containers", "id", pickColumns("containers", "id", "state", "wishedBy"));
  const briefs = rowsOf<BriefContainer>(
    sql,
    "containers",
    "id",
    pickColumns("containers", "id", "service", "generation", "desiredInstances", "state", "since", "fault", "address"),
  );
  const ofPackage = rowsOf<PackageContainer>(
    sql,
    "containers",
    "id",
    pickColumns("containers", "id", "packageId", "imageId", "folder", "name", "service", "generation", "runningGeneration", "createdOn"),
  );
  const defined = rowsOf<DefinedContainer>(sql, "containers", "id", pickColumns("containers", "id", "folder", "config", "env"));
  const viewed = rowsOf<ContainerToView>(
    sql,
    "containers",
    "id",
    pickColumns("containers", "id", "name", "state", "config", "desiredInstances", "stopFor", "fault", "address", "phases", "notBefore"),
  );
  const rows = rowsOf<Container>(sql, "containers", "id", TABLES.containers);
  const history = historyIn(sql);
  const wakes = wakesIn(sql);
  return {
    find: rows.find,
    stateOfEach: () => sql.all<{ id: string; state: ContainerState }>("SELECT id, state FROM containers"),
    all: () => rows.where("TRUE ORDER BY name, id"),
    /** The next so many after this id, in the order of ids, which begins after "". */
    toView: (after: string, most: number) => viewed.where("id > ? ORDER BY id LIMIT ?", after, most),
    /** Those of which something may become by itself, or that are to run: all but what rests as it is wished. */
    atWork: () => briefs.where(`${AT_WORK} ORDER BY name, id`),
    /** Of a time that has not come: their state, if it is not to rest, was entered after `now`, or nothing is tried before `latest`. */
    ofTheFuture: (now: number, latest: number) =>
      rows.where(
        // Each by its own index; with OR SQLite takes neither.
        `id IN (SELECT id FROM containers WHERE ${AT_WORK} AND since > ? UNION ALL SELECT id FROM containers WHERE not_before > 0 AND not_before > ?)`,
        Math.trunc(now),
        Math.trunc(latest),
      ),
    /** Those of which a start failed, or that were lost: what the next one waits for. */
    triedLater: () => tried.where("not_before > 0 AND attempts > 0"),
    /** What decides where its work waits. */
    place: (id: string) => placed.find(id),
    byPackage: (packageId: string) => ofPackage.where("package_id = ?", packageId),
    ofFolders: (packageId: string, folders: readonly string[]) =>
      defined.where("package_id = ? AND folder IN (SELECT value FROM json_each(?))", packageId, JSON.stringify(folders)),
    byImage: (imageId: string) => rows.where("image_id = ? ORDER BY name, id", imageId),
    ...listingsOf(sql, "containers", LIVE, rows),
    /** Their names at the orchestrator. */
    services: () =>
      sql.all<{ service: string; packageId: string }>(`SELECT service, package_id AS packageId FROM containers WHERE ${LIVE} ORDER BY service`),
    /** What their containers run, or may: only of one that is stopped, and does not lie frozen, it is known that nothing does. */
    deployed: () =>
      rows
        .where("deployed IS NOT NULL AND (state NOT IN ('USER_STOPPED', 'SYSTEM_STOPPED') OR paused_on IS NOT NULL)")
        .flatMap(({ deployed }) => deployed ?? []),
    adopted: () => rows.where("adopted IS NOT NULL"),
    /** Those at rest of which something may lie frozen at the orchestrator. */
    paused: () => paused.where("paused_on IS NOT NULL AND state IN ('USER_STOPPED', 'SYSTEM_STOPPED')"),
    /** Those that rest until their warm hours come. */
    keptWarm: () =>
      sql
        .all<{ id: string }>("SELECT id FROM containers WHERE state = 'SYSTEM_STOPPED' AND json_extract(config, '$.keepWarm') IS NOT NULL")
        .map(({ id }) => id),
    /** Whose the address is; the index lets it be one container's at most. */
    atAddress: ({ host, port }: Pick<OwnedAddress, "host" | "port">) =>
      rows.where("address IS NOT NULL AND json_extract(address, '$.host') = ? AND json_extract(address, '$.port') = ?", host, port)[0],
    byService: (service: string) => rows.where("service = ?", service)[0],
    /** What those that run, or are about to, were promised: cores and MiB. */
    promised: () => {
      const [sum] = sql.all<{ cpu: number | null; memoryMb: number | null }>(
        `SELECT sum(json_extract(config, '$.cpu')) AS cpu, sum(json_extract(config, '$.memoryMb')) AS memoryMb FROM containers
          WHERE ${LIVE} AND state IN ('STARTING', 'STARTED', 'CHECKING', 'PENDING_USER_STOP', 'PENDING_SYSTEM_STOP', 'STOPPING')`,
      );
      return { cpu: sum?.cpu ?? 0, memoryMb: sum?.memoryMb ?? 0 };
    },
    /** How many are in each state. */
    states: () => sql.all<{ state: ContainerState; count: number }>(`SELECT state, COUNT(*) AS count FROM containers WHERE ${LIVE} GROUP BY state`),
    insert: (container: Container) =>
      sql.together(() => {
        sql.run("DELETE FROM tombstones WHERE id = ?", container.id);
        return rows.insert(container);
      }),
    /** For everything but `state`, which only moves. */
    update: (id: string, patch: Partial<Omit<Container, "id" | "state">>) => rows.update(id, patch),
    /** Requests the stop of all of these, in one statement. */
    stopAll: (ids: readonly string[], now: number) =>
      sql.run(
        "UPDATE containers SET desired_instances = 0, stop_for = 'user', updated_on = ? WHERE id IN (SELECT value FROM json_each(?))",
        Math.trunc(now),
        JSON.stringify(ids),
      ),
    /** What was started with this session is given no token of it any more; likewise with a developer key. */
    endStartsOfSession: (session: string) =>
      sql.run("UPDATE containers SET wished_key = '', wished_session = NULL WHERE wished_session = ?", session),
    endStartsOfKey: (key: string) => sql.run("UPDATE containers SET wished_key = '', wished_session = NULL WHERE wished_key = ?", key),
    /** Compare-and-set: undefined where the container is no longer in `from`. With a reason, its history tells of it. */
    move: (id: string, from: ContainerState, to: ContainerState, patch: Partial<Omit<Container, "id" | "state">>, reason?: Reason) =>
      sql.together(() => {
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
          "INSERT OR REPLACE INTO tombstones (id, service, adopted, removed_on, cleared_on) SELECT id, service, adopted, ?, NULL FROM containers WHERE id = ?",
          Math.trunc(now),
          id,
        );
        if (kept > 0) for (const kind of [history, wakes]) kind.forget(id);
        return kept > 0 && rows.remove(id);
      }),
  };
}
