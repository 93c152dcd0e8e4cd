import { sql } from "kysely";
import type { Container, ContainerPatch, OwnedAddress } from "../model/entities.ts";
import type { ContainerState } from "../model/states.ts";
import { createEntityTable } from "./entity-table.ts";
import { causeOf, type History, type Reason, type Wakes } from "./history.ts";
import { createListings } from "./listing.ts";
import type { Queries } from "./queries.ts";
import type { Series } from "./series.ts";
import type { UseWeeks } from "./use-weeks.ts";
import { keptSessions, type KeptSession } from "./sessions.ts";

/** One whose folder its package no longer has is gone for clients, even where its row is not yet. */
const LIVE = sql<boolean>`image_id not in (select id from images where state = 'DELETED')`;

/** Further replicas belong to the container of which they are, and are not listed. */
const OWN = sql<boolean>`replica_of is null`;

const LISTED = sql<boolean>`image_id not in (select id from images where state = 'DELETED') and replica_of is null`;

/** As `isStopped`, in the words of the index below. */
const STOPPED = sql<boolean>`state in ('USER_STOPPED', 'SYSTEM_STOPPED')`;

/** All but those that rest as desired, which most do. In the words of its index: for others SQLite reads every row. */
const AT_WORK = sql<boolean>`not (${STOPPED} and desired_instances = 0)`;

/** What a look at many containers needs of each, without the logs and texts that make up most of a row. */
export type BriefContainer = Pick<Container, "id" | "service" | "generation" | "desiredInstances" | "state" | "since" | "fault" | "addresses">;

/** What counts for the limits of capacity. */
export type HoldingContainer = Pick<
  Container,
  | "id"
  | "packageId"
  | "folder"
  | "name"
  | "state"
  | "since"
  | "config"
  | "requestedBy"
  | "requestedFor"
  | "lastActive"
  | "deployed"
  | "addresses"
  | "busyUntil"
  | "warmUp"
  | "replicaOf"
>;

/** What gateways receive of each. */
export type ContainerToView = Pick<
  Container,
  | "id"
  | "name"
  | "state"
  | "since"
  | "runningSince"
  | "lastActive"
  | "config"
  | "desiredInstances"
  | "stopFor"
  | "fault"
  | "addresses"
  | "deployed"
  | "tcpPort"
  | "phases"
  | "notBefore"
  | "generation"
  | "runningGeneration"
>;

/** What a publish needs of the containers that its package has, without the texts. */
export type PackageContainer = Pick<
  Container,
  "id" | "packageId" | "imageId" | "folder" | "name" | "service" | "generation" | "runningGeneration" | "createdOn"
>;

/** What a decision about a container follows from, besides its state: a move is refused where one of them is another meanwhile. */
export type DecidedOn = Pick<Container, "desiredInstances" | "stopFor" | "generation">;

export type Containers = ReturnType<typeof createContainers>;

type KeptRecords = {
  history: Pick<History, "append" | "removeOf">;
  wakes: Pick<Wakes, "removeOf">;
  series: Pick<Series, "removeOf">;
  useWeeks: Pick<UseWeeks, "removeOf">;
};

/** Rows whose last use is written in one transaction: some milliseconds. */
const TOUCHED_AT_ONCE = 200;

/** What a prediction of its use needs of a container. */
export type ContainerToWarm = Pick<Container, "id" | "name" | "packageId" | "config" | "state" | "createdOn" | "warmUp">;

export function createContainers(queries: Queries, kept: KeptRecords) {
  const { builder, database, dialect, raw, run, select } = queries;
  const table = createEntityTable(queries, "containers", "id");
  const brief = table.pick("id", "service", "generation", "desiredInstances", "state", "since", "fault", "addresses");
  const viewed = table.pick(
    "id",
    "name",
    "state",
    "since",
    "runningSince",
    "lastActive",
    "config",
    "desiredInstances",
    "stopFor",
    "fault",
    "addresses",
    "deployed",
    "tcpPort",
    "phases",
    "notBefore",
    "generation",
    "runningGeneration",
  );
  const ofPackage = table.pick("id", "packageId", "imageId", "folder", "name", "service", "generation", "runningGeneration", "createdOn");

  const stateOfEach = select(() => builder.selectFrom("containers").select(["id", "state", "package_id as packageId"]).where(OWN));
  const all = table.list((query) => query.where(OWN).orderBy("name").orderBy("id"));
  const toView = viewed.list((query, values: { after: string; most: number }) =>
    query.where("id", ">", values.after).where(OWN).orderBy("id").limit(values.most),
  );
  const idleWorkers = table.pick("id", "service", "since").list((query) =>
    query
      .where(AT_WORK)
      .where("state", "=", "STARTED")
      .where(sql<boolean>`${dialect.member<string>("deployed", "worker")} is not null`)
      .where(sql<boolean>`${dialect.member("config", "shutdownTimeoutMinutes")} is not null`),
  );
  const atWork = brief.list((query) => query.where(AT_WORK).orderBy("name").orderBy("id"));
  const holding = table
    .pick(
      "id",
      "packageId",
      "folder",
      "name",
      "state",
      "since",
      "config",
      "requestedBy",
      "requestedFor",
      "lastActive",
      "deployed",
      "addresses",
      "busyUntil",
      "warmUp",
      "replicaOf",
    )
    .list((query) => query.where(AT_WORK).where("desired_instances", "=", 1).where("state", "<>", "ERROR"));
  const ofTheFuture = table.list((query, values: { now: number; latest: number }) =>
    // Each by its own index; with OR SQLite takes neither.
    query.where(
      sql<boolean>`id in (select id from containers where ${AT_WORK} and (since > ${values.now} or last_active > ${values.now})
        union all select id from containers where not_before > 0 and not_before > ${values.latest})`,
    ),
  );
  const triedLater = table.pick("id", "since", "fault").list((query) => query.where(sql<boolean>`not_before > 0 and attempts > 0`));
  const place = table.pick("id", "state", "requestedBy", "packageId", "replicaOf").find;
  const byPackage = ofPackage.list((query, values: { packageId: string }) => query.where("package_id", "=", values.packageId).where(OWN));
  const replicasOf = table.list((query, values: { id: string }) => query.where("replica_of", "=", values.id).orderBy("replica"));
  const replicated = table.list((query) =>
    query.where(sql<boolean>`replica_of is not null or ${dialect.member("config", "replicas")} is not null`).orderBy("id"),
  );
  const environments = table
    .pick("id", "name", "env")
    .list((query, values: { packageId: string }) => query.where("package_id", "=", values.packageId).where(LISTED).orderBy("name").orderBy("id"));
  const ofFolders = table
    .pick("id", "folder", "config", "env")
    .list((query, values: { packageId: string; folders: string }) =>
      query.where("package_id", "=", values.packageId).where(OWN).where("folder", "in", dialect.elements(values.folders)),
    );
  const wholeOfFolders = table.list((query, values: { packageId: string; folders: string }) =>
    query.where("package_id", "=", values.packageId).where(OWN).where("folder", "in", dialect.elements(values.folders)),
  );
  const dependents = table
    .pick("id", "name", "folder", "config", "state", "desiredInstances")
    .list((query, values: { packageId: string }) =>
      query.where("package_id", "=", values.packageId).where(dialect.member("config", "dependsOn"), "is not", null).orderBy("name"),
    );
  const replicatedOf = table
    .pick("id", "name", "config")
    .list((query, values: { packageId: string }) =>
      query.where("package_id", "=", values.packageId).where(LISTED).where(dialect.member("config", "replicas"), "is not", null).orderBy("name"),
    );
  const byImage = table.list((query, values: { imageId: string }) => query.where("image_id", "=", values.imageId).orderBy("name").orderBy("id"));
  const ofImages = ofPackage.list((query, values: { ids: string }) =>
    query.where("image_id", "in", dialect.elements(values.ids)).where(OWN).orderBy("name").orderBy("id"),
  );
  const moveToPackage = run((values: { packageId: string; folders: string; ids: string }) =>
    builder
      .updateTable("containers")
      .set({ package_id: values.packageId, folder: dialect.entry(values.folders, "id") })
      .where("id", "in", dialect.elements(values.ids)),
  );
  const services = select(() => builder.selectFrom("containers").select(["service", "package_id as packageId"]).where(LISTED).orderBy("service"));
  const imagesOfEach = select((values: { after: string; most: number }) =>
    raw(
      sql<{ id: string; name: string; ref: string; digest: string | null; deployedRef: string | null; deployedDigest: string | null }>`
        select containers.id, containers.name, images.ref, images.digest, ${dialect.member("deployed", "ref")} as "deployedRef",
            ${dialect.member("deployed", "digest")} as "deployedDigest"
          from containers join images on images.id = containers.image_id
          where containers.id > ${values.after} and replica_of is null and images.state <> 'DELETED' order by containers.id limit ${values.most}`,
    ),
  );
  const deployed = table
    .pick("deployed")
    .list((query) => query.where(sql<boolean>`deployed is not null and (not ${STOPPED} or paused_on is not null)`));
  const adopted = table.list((query) => query.where("adopted", "is not", null));
  const paused = table
    .pick("id", "service", "generation", "state", "pausedOn")
    .list((query) => query.where("paused_on", "is not", null).where(STOPPED));
  const keptWarm = select(() =>
    builder
      .selectFrom("containers")
      .select("id")
      .where("state", "=", sql.lit<ContainerState>("SYSTEM_STOPPED"))
      .where(sql<boolean>`(warm_up is not null or ${dialect.member("config", "keepWarm")} is not null)`),
  );
  const toWarm = table.pick("id", "name", "packageId", "config", "state", "createdOn", "warmUp");
  const toWarmOf = toWarm.list((query, values: { ids: string }) => query.where("id", "in", dialect.elements(values.ids)).where(LIVE));
  const lifeOf = ({ from, to }: { from: number; to: number }) => {
    const begin = sql`(case when created_on > ${from} then created_on else ${from} end)`;
    const end = sql`(case when state in ('USER_STOPPED', 'ERROR') and since < ${to} then since else ${to} end)`;
    const ms = sql<number>`(case when ${end} > ${begin} then ${end} - ${begin} else 0 end)`;
    return (
      builder
        .selectFrom("containers")
        .select([
          sql<number | null>`cast(sum(${ms}) as bigint)`.as("ms"),
          sql<number | null>`cast(sum(${ms} / 1000.0 * ${dialect.numericMember("config", "memoryMb")}) as bigint)`.as("mbSeconds"),
        ])
        // A further replica starts and sleeps by load: that is no sleep of its container.
        .where(LISTED)
    );
  };
  const lived = select((values: { from: number; to: number }) => lifeOf(values));
  const livedOf = select((values: { from: number; to: number; ids: string }) => lifeOf(values).where("id", "in", dialect.elements(values.ids)));
  const warmed = toWarm.list((query) => query.where("warm_up", "is not", null).where(LIVE));
  const limited = table.list((query) => query.where(dialect.member("config", "maxConcurrency"), "is not", null));
  const atAddress = table.first((query, values: Pick<OwnedAddress, "host" | "port">) =>
    query.where(sql<boolean>`id = (select container_id from container_addresses where host = ${values.host} and port = ${values.port})`),
  );
  const tcpPorts = select(() => builder.selectFrom("containers").select("tcp_port").where("tcp_port", "is not", null));
  /** Of a Dockerfile the name is mostly in its first lines; what matches is compared exactly. */
  const tcpCandidates = select((values: { names: string }) =>
    builder
      .selectFrom("containers")
      .select("id")
      .where(
        sql<boolean>`tcp_port is not null or ${dialect.member("config", "tcp")} is not null or image_id in (
          select images.id from images, ${dialect.elements(values.names)} as named
          where ${dialect.contains(sql`lower(ref)`, sql`named.value`)} or ${dialect.contains(sql`lower(dockerfile)`, sql`named.value`)})`,
      )
      .orderBy("created_on")
      .orderBy("id"),
  );
  const servicesOf = select((values: { ids: string }) =>
    builder.selectFrom("containers").select(["id", "service"]).where("id", "in", dialect.elements(values.ids)),
  );
  const byService = table.first((query, values: { service: string }) => query.where("service", "=", values.service));
  const reserved = select(() =>
    raw(
      sql<{ cpu: number | null; memoryMb: number | null }>`
        select sum(${dialect.numericMember("config", "cpu")}) as cpu, sum(${dialect.numericMember("config", "memoryMb")}) as "memoryMb" from containers
        where ${LIVE} and state in ('STARTING', 'STARTED', 'CHECKING', 'PENDING_USER_STOP', 'PENDING_SYSTEM_STOP', 'STOPPING')`,
    ),
  );
  const running = table
    .pick("id", "service", "since", "state", "config", "replicaOf")
    .list((query) =>
      query.where(AT_WORK).where("state", "in", ["STARTING", "STARTED", "CHECKING", "PENDING_USER_STOP", "PENDING_SYSTEM_STOP", "STOPPING"]),
    );
  const failed = table
    .pick("id", "name", "packageId", "fault", "since")
    .list((query, values: { most: number }) =>
      query.where(AT_WORK).where(LISTED).where("state", "=", "ERROR").orderBy("since", "desc").limit(values.most),
    );
  const states = select(() =>
    builder
      .selectFrom("containers")
      .select((of) => ["state", of.fn.countAll<number>().as("count")])
      .where(LISTED)
      .groupBy("state"),
  );

  const removeTombstone = run((values: { id: string }) => builder.deleteFrom("tombstones").where("id", "=", values.id));
  const leaveTombstone = run((values: { id: string; now: number }) =>
    builder
      .insertInto("tombstones")
      .columns(["id", "service", "adopted", "removed_on", "cleared_on"])
      .expression(
        builder
          .selectFrom("containers")
          .select([
            "id",
            "service",
            "adopted",
            sql<number>`cast(${values.now} as bigint)`.as("removed_on"),
            sql<null>`cast(null as bigint)`.as("cleared_on"),
          ])
          .where("id", "=", values.id),
      )
      .onConflict((conflict) =>
        conflict.column("id").doUpdateSet((of) => ({
          service: of.ref("excluded.service"),
          adopted: of.ref("excluded.adopted"),
          removed_on: of.ref("excluded.removed_on"),
          cleared_on: of.ref("excluded.cleared_on"),
        })),
      ),
  );
  const stopAll = run((values: { ids: string; now: number }) =>
    builder
      .updateTable("containers")
      .set({ desired_instances: sql.lit(0 as const), stop_for: sql.lit("user" as const), updated_on: values.now })
      .where("id", "in", dialect.elements(values.ids)),
  );
  const endStartsOf = (column: "wished_session" | "wished_key") =>
    run((values: { digest: string }) =>
      builder
        .updateTable("containers")
        .set({ wished_key: sql.lit(""), wished_session: null })
        .where(column, "=", values.digest),
    );
  const endStartsOfSession = endStartsOf("wished_session");
  const endStartsOfKey = endStartsOf("wished_key");
  const endStartsOfSessions = run((values: KeptSession) =>
    builder
      .updateTable("containers")
      .set({ wished_key: sql.lit(""), wished_session: null })
      .where("wished_by", "=", values.userId)
      .where("wished_session", "is not", null)
      .where("wished_session", "not in", keptSessions(builder, values)),
  );
  const endStartsOfUser = run((values: { userId: string }) =>
    builder.updateTable("containers").set({ wished_by: null }).where("wished_by", "=", values.userId),
  );
  const touch = run((values: { id: string; at: number }) =>
    builder.updateTable("containers").set({ last_active: values.at }).where("id", "=", values.id).where("last_active", "<", values.at),
  );
  const updateFrom = table.updateWhere((values: { from: ContainerState }) => sql`state = ${values.from}`);
  const updateDecided = table.updateWhere(
    (values: { from: ContainerState } & DecidedOn) => sql`state = ${values.from} and desired_instances = ${values.desiredInstances}
      and stop_for is not distinct from ${values.stopFor} and generation = ${values.generation}`,
  );

  return {
    find: table.find,
    stateOfEach: () => stateOfEach({}),
    all: () => all({}),
    /** The next so many after this id, in the order of ids, which begins after "". */
    toView: (after: string, most: number) => toView({ after, most }),
    /** Queue workers that run and may be stopped for idleness. */
    idleWorkers: () => idleWorkers({}),
    /** Those of which something may become by itself, or that are to run: all but what rests as desired. */
    atWork: () => atWork({}),
    /** Those that run or are about to, with what they reserve. One that has failed holds nothing. */
    holding: () => holding({}),
    /** Of a time that has not come: their state, if it is not to rest, was entered after `now`, or nothing is tried before `latest`. */
    ofTheFuture: (now: number, latest: number) => ofTheFuture({ now: Math.trunc(now), latest: Math.trunc(latest) }),
    /** Those of which a start failed, or that were lost: what the next one waits for. */
    triedLater: () => triedLater({}),
    /** What decides where its work waits. */
    place,
    /** The variables of a package's containers, as its author wrote them. */
    environments: (packageId: string) => environments({ packageId }),
    byPackage: (packageId: string) => byPackage({ packageId }),
    /** Of these folders of a package. */
    wholeOfFolders: (packageId: string, folders: readonly string[]) => wholeOfFolders({ packageId, folders: JSON.stringify(folders) }),
    /** Those of a package that depend on others of it, by name. */
    dependents: (packageId: string) => dependents({ packageId }),
    /** With what a publish compares what it brings. */
    ofFolders: (packageId: string, folders: readonly string[]) => ofFolders({ packageId, folders: JSON.stringify(folders) }),
    /** Its further replicas, in the order of their numbers. */
    replicasOf: (id: string) => replicasOf({ id }),
    /** Those of a package whose configuration has replicas. */
    replicatedOf: (packageId: string) => replicatedOf({ packageId }),
    /** All further replicas, and the containers whose configuration has some. */
    replicated: () => replicated({}),
    byImage: (imageId: string) => byImage({ imageId }),
    ofImages: (imageIds: readonly string[]) => ofImages({ ids: JSON.stringify(imageIds) }),
    /** To a folder each, by id; in one statement, however many there are. */
    moveToPackage: (packageId: string, folders: Readonly<Record<string, string>>) =>
      moveToPackage({ packageId, folders: JSON.stringify(folders), ids: JSON.stringify(Object.keys(folders)) }),
    ...createListings(queries, "containers", LISTED, table),
    /** Their names at the orchestrator, without those of further replicas. */
    services: () => services({}),
    /** What their containers run, or may: only of one that is stopped, and is not paused, it is certain that nothing does. */
    deployed: async () => (await deployed({})).flatMap(({ deployed: image }) => image ?? []),
    /** What the next so many after this id, in the order of ids, will run, and what they have run last. */
    imagesOfEach: async (after: string, most: number) =>
      (await imagesOfEach({ after, most })).map(({ id, name, ref, digest, deployedRef, deployedDigest }) => ({
        id,
        name,
        image: { ref, digest: digest ?? undefined },
        deployed: deployedRef === null ? undefined : { ref: deployedRef, digest: deployedDigest ?? undefined },
      })),
    adopted: () => adopted({}),
    /** Those at rest of which something may be paused at the orchestrator. */
    paused: () => paused({}),
    /** What a prediction of their use needs of these. */
    toWarm: (ids: readonly string[]) => toWarmOf({ ids: JSON.stringify(ids) }),
    /** Those with hours beside their keep_warm. */
    warmed: () => warmed({}),
    /**
     * How long these containers could have run between two times (epoch ms), and what they would have reserved; undefined: all. One that a user stopped, or that failed,
     * counts until then.
     */
    lived: async ({ from, to, ids }: { from: number; to: number; ids?: readonly string[] | undefined }) => {
      const [sum] = await (ids ? livedOf({ from, to, ids: JSON.stringify(ids) }) : lived({ from, to }));
      return { ms: sum?.ms ?? 0, mbSeconds: sum?.mbSeconds ?? 0 };
    },
    /** Those that rest until their warm hours come. */
    keptWarm: async () => (await keptWarm({})).map(({ id }) => id),
    /** Those with a limit of requests. */
    limited: () => limited({}),
    /** Whose these addresses are, each container once. A key lets each address be one container's at most. */
    atAddresses: async (addresses: readonly Pick<OwnedAddress, "host" | "port">[]): Promise<Container[]> => {
      const holders = new Map<string, Container>();
      for (const holder of await Promise.all(addresses.map(({ host, port }) => atAddress({ host, port }))))
        if (holder) holders.set(holder.id, holder);
      return [...holders.values()];
    },
    /** The ports of TCP listeners that are assigned. */
    tcpPorts: async () => (await tcpPorts({})).flatMap(({ tcp_port: port }) => port ?? []),
    /** Those that have the port of a TCP listener, or may need one: by their configuration, or an image that may be one of these. */
    tcpCandidates: async (imageNames: readonly string[]) => (await tcpCandidates({ names: JSON.stringify(imageNames) })).map(({ id }) => id),
    /** By id, of those that there are. */
    servicesOf: async (ids: readonly string[]) => new Map((await servicesOf({ ids: JSON.stringify(ids) })).map(({ id, service }) => [id, service])),
    byService: (service: string) => byService({ service }),
    /** What is reserved for those that run, or are about to: cores and MiB. */
    reserved: async () => {
      const [sum] = await reserved({});
      return { cpu: sum?.cpu ?? 0, memoryMb: sum?.memoryMb ?? 0 };
    },
    /** Those that have resources reserved. */
    running: () => running({}),
    /** Those whose last start failed, the latest first. */
    failed: (most: number) => failed({ most }),
    /** How many are in each state. */
    states: () => states({}),
    insert: (container: Container) =>
      database.transaction(async () => {
        await removeTombstone({ id: container.id });
        return table.insert(container);
      }),
    /** For everything but `state`, which only moves. */
    update: (id: string, patch: ContainerPatch) => table.update(id, patch),
    /** Requests the stop of all of these, in one statement. */
    stopAll: (ids: readonly string[], now: number) => stopAll({ ids: JSON.stringify(ids), now: Math.trunc(now) }),
    /** What was started with this session is given no token of it any more; likewise with a developer key. */
    endStartsOfSession: (session: string) => endStartsOfSession({ digest: session }),
    endStartsOfKey: (key: string) => endStartsOfKey({ digest: key }),
    /** The same for all sessions of a user, except the one with the digest `kept` and those that came from it. */
    endStartsOfSessions: (userId: string, kept: string | undefined) => endStartsOfSessions({ userId, kept: kept ?? "" }),
    /** A later start must not use a session of a removed user. */
    endStartsOfUser: (userId: string) => endStartsOfUser({ userId }),
    /**
     * Compare-and-set: undefined where the container is no longer in `from`, or no longer as `basis` has it. With a reason, its history tells of it.
     * `current`: its row as it was read in this transaction, which then does not wait for the move.
     */
    move: (
      id: string,
      from: ContainerState,
      to: ContainerState,
      patch: ContainerPatch,
      reason?: Reason,
      basis?: DecidedOn | { current: Container },
    ) =>
      database.transaction(async () => {
        const values = { ...patch, state: to };
        const write = (): Promise<Container | undefined> => {
          if (!basis) return updateFrom(id, values, { from });
          if ("current" in basis) return table.enqueueChange(basis.current, values);
          return updateDecided(id, values, { ...comparable(basis), from });
        };
        const moved = await write();
        if (moved && reason) await kept.history.append({ entity: id, fromState: from, toState: to, cause: causeOf(patch.fault), ...reason });
        return moved;
      }),
    /** `lastActive` (epoch ms) of many at once; it never goes back. In parts, each in a transaction and a turn of its own: there may be a hundred thousand. A part that fails may be written again with the others. */
    touch: async (lastActive: ReadonlyMap<string, number>): Promise<void> => {
      const uses = [...lastActive];
      for (let at = 0; at < uses.length; at += TOUCHED_AT_ONCE) {
        if (at > 0) await new Promise(setImmediate);
        const part = uses.slice(at, at + TOUCHED_AT_ONCE);
        await database.transaction(() => Promise.all(part.map(([id, used]) => touch({ id, at: Math.trunc(used) }))));
      }
    },
    /** Leaves a tombstone and no history; false where there was no such container. */
    remove: (id: string, now: number): Promise<boolean> =>
      database.transaction(async () => {
        if ((await leaveTombstone({ id, now: Math.trunc(now) })) === 0) return false;
        for (const records of [kept.history, kept.wakes, kept.series, kept.useWeeks]) await records.removeOf(id);
        return table.remove(id);
      }),
  };
}

/** As a statement takes them. */
function comparable({ desiredInstances, stopFor, generation }: DecidedOn) {
  return { desiredInstances, stopFor: (stopFor ?? null) as DecidedOn["stopFor"], generation };
}

export type Tombstones = ReturnType<typeof createTombstones>;

/**
 * How long a cleared tombstone stays: a machine that was away may come back with the service, which is removed then. Later it is an orphan, which an
 * administrator removes.
 */
const KEPT_MS = 365 * 24 * 3_600_000;
/** Each time all of them are read. */
const PRUNE_MS = 3_600_000;

export function createTombstones(queries: Queries) {
  const table = createEntityTable(queries, "tombstones", "id");
  const some = table.list((query, values: { ids: string }) => query.where("id", "in", queries.dialect.elements(values.ids)));
  const open = table.list((query) => query.where("cleared_on", "is", null));
  const removeBefore = queries.run((values: { before: number }) => queries.builder.deleteFrom("tombstones").where("cleared_on", "<", values.before));
  let prunedOn = 0;
  const adopted = table.first((query, values: { service: string }) =>
    query.where("cleared_on", "is", null).where("service", "=", values.service).where("adopted", "is not", null),
  );
  return {
    find: table.find,
    some: (ids: readonly string[]) => some({ ids: JSON.stringify(ids) }),
    /** The adopted instance of this service that is still to be ended. */
    adopted: (service: string) => adopted({ service }),
    /** Those whose service may still run. */
    open: () => open({}),
    /** A service of it was observed after all, whatever its name. */
    reopen: (id: string, service: string) => table.update(id, { service, clearedOn: undefined }),
    clear: async (id: string, now: number) => {
      if (now - prunedOn > PRUNE_MS) {
        prunedOn = now;
        await removeBefore({ before: Math.trunc(now) - KEPT_MS });
      }
      return table.update(id, { clearedOn: now });
    },
  };
}
