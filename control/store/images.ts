import { sql } from "kysely";
import type { Image, ImagePatch } from "../model/entities.ts";
import type { ImageState } from "../model/states.ts";
import { createEntityTable } from "./entity-table.ts";
import { causeOf, type History, type Reason } from "./history.ts";
import { createListings } from "./listing.ts";
import type { Queries } from "./queries.ts";

/** All but those that are as they are to be. In the words of its index: for others SQLite reads every row. */
const AT_WORK = sql<boolean>`(state not in ('READY', 'DELETED') or fault is not null)`;

/** What a publish needs of the images that its package has, without the texts. */
export type PackageImage = Pick<Image, "id" | "folder" | "files" | "state">;

/** What counts for the limits of an author's images, without the texts. */
export type AuthoredImage = Pick<Image, "id" | "packageId" | "ref" | "digest">;

export type Images = ReturnType<typeof createImages>;

export function createImages(queries: Queries, history: Pick<History, "append" | "appendToImages">) {
  const { builder, database, dialect, run, select } = queries;
  const table = createEntityTable(queries, "images", "id");
  const brief = table.pick("id", "folder", "files", "state");
  const all = table.list((query) => query.orderBy("name").orderBy("id"));
  const inRegistry = table.pick("id", "name", "version", "ref", "digest", "resolvedId", "state", "mutable");
  const inUse = inRegistry.list((query) => query.where("state", "<>", "DELETED").orderBy("id"));
  const ofRepository = inRegistry.list((query, values: { repository: string }) =>
    query
      .where(dialect.contains(sql.ref("ref"), sql`${values.repository}`))
      .where("state", "<>", "DELETED")
      .orderBy("id"),
  );
  const ofAuthor = table.pick("id", "packageId", "ref", "digest").list((query, values: { authorId: string }) =>
    query
      .where(sql<boolean>`package_id in (select id from packages where author_id = ${values.authorId})`)
      .where("state", "<>", "DELETED")
      .orderBy("id"),
  );
  const ofContainer = table.first((query, values: { id: string }) =>
    query.where(sql<boolean>`id = (select image_id from containers where id = ${values.id})`),
  );
  const unready = table.list((query) =>
    query
      .where(AT_WORK)
      .where(sql<boolean>`state not in ('READY', 'DELETED')`)
      .orderBy("name")
      .orderBy("id"),
  );
  const unsettled = table.list((query) =>
    query
      .where(AT_WORK)
      .where(
        sql<boolean>`(state in ('PENDING_VALIDATION', 'VALIDATING') or ${dialect.member<string>("fault", "code")} in ('ENGINE_UNREACHABLE', 'ENGINE_FAILED'))`,
      ),
  );
  const ofTheFuture = table.list((query, values: { now: number }) => query.where("since", ">", values.now));
  type Folders = { packageId: string; folders: string };
  const ofFolders = brief.list((query, values: Folders) =>
    query.where("package_id", "=", values.packageId).where("folder", "in", dialect.elements(values.folders)),
  );
  const ofOtherFolders = brief.list((query, values: Folders) =>
    query.where("package_id", "=", values.packageId).where("state", "<>", "DELETED").where("folder", "not in", dialect.elements(values.folders)),
  );
  const ofRef = select((values: { ref: string; state: ImageState }) =>
    builder
      .selectFrom("images")
      .select("id")
      .where(AT_WORK)
      .where("state", "=", values.state)
      .where("ref", "=", values.ref)
      .where("dockerfile", "=", sql.lit(""))
      .orderBy("id"),
  );
  const byPackage = table.list((query, values: { packageId: string }) =>
    query.where("package_id", "=", values.packageId).orderBy("name").orderBy("id"),
  );
  const states = select(() =>
    builder
      .selectFrom("images")
      .select((of) => ["state", of.fn.countAll<number>().as("count")])
      .groupBy("state"),
  );
  const author = select((values: { id: string }) =>
    builder
      .selectFrom("images")
      .innerJoin("packages", "packages.id", "images.package_id")
      .select("packages.author_id as author")
      .where("images.id", "=", values.id),
  );
  const moveToPackage = run((values: { packageId: string; folders: string; ids: string }) =>
    builder
      .updateTable("images")
      .set({ package_id: values.packageId, folder: dialect.entry(values.folders, "id") })
      .where("id", "in", dialect.elements(values.ids)),
  );
  const removeAll = run((values: { ids: string; now: number }) =>
    builder
      .updateTable("images")
      .set({ state: sql.lit("DELETED"), since: values.now, updated_on: values.now })
      .where("id", "in", dialect.elements(values.ids)),
  );
  const updateFrom = table.updateWhere((values: { from: ImageState }) => sql`state = ${values.from}`);
  return {
    /** Deleted ones too: an image's row is its own tombstone. */
    find: table.find,
    ofContainer: (id: string) => ofContainer({ id }),
    all: () => all({}),
    /** All that are not deleted. */
    inUse: () => inUse({}),
    /** Those of them whose reference has this text in it, which others may have too. */
    ofRepository: (repository: string) => ofRepository({ repository }),
    /** Of all packages of an author, without what is deleted. */
    ofAuthor: (authorId: string) => ofAuthor({ authorId }),
    /** Those that cannot be run as they are, and are not deleted. */
    unready: () => unready({}),
    /** Those of which something may become by itself; of thousands, few. */
    unsettled: () => unsettled({}),
    /** Their state was entered after `now`, as the clock says it. */
    ofTheFuture: (now: number) => ofTheFuture({ now: Math.trunc(now) }),
    ofFolders: (packageId: string, folders: readonly string[]) => ofFolders({ packageId, folders: JSON.stringify(folders) }),
    /** What a package of these folders alone no longer has. Those deleted before, which a package collects over time, are left out. */
    ofOtherFolders: (packageId: string, folders: readonly string[]) => ofOtherFolders({ packageId, folders: JSON.stringify(folders) }),
    /** The ids of all in a state of validation that name this image of a registry, and have no Dockerfile. */
    ofRef: async (ref: string, state: ImageState) => (await ofRef({ ref, state })).map(({ id }) => id),
    byPackage: (packageId: string) => byPackage({ packageId }),
    ...createListings(queries, "images", sql<boolean>`true`, table),
    /** How many are in each state. */
    states: () => states({}),
    /** Who published it. */
    author: async (id: string) => (await author({ id }))[0]?.author,
    insert: table.insert,
    /** For everything but `state`, which only moves. */
    update: (id: string, patch: ImagePatch) => table.update(id, patch),
    /** To a folder each, by id; in one statement, however many there are. */
    moveToPackage: (packageId: string, folders: Readonly<Record<string, string>>) =>
      moveToPackage({ packageId, folders: JSON.stringify(folders), ids: JSON.stringify(Object.keys(folders)) }),
    /** In two statements, however many there are; call it in the transaction that read their states, all of which may be left for DELETED. */
    removeAll: (ids: readonly string[], now: number, reason: Reason) =>
      database.transaction(async () => {
        await history.appendToImages(ids, "DELETED", reason);
        await removeAll({ ids: JSON.stringify(ids), now: Math.trunc(now) });
      }),
    /** Compare-and-set: undefined where the image is no longer in `from`. With a reason, its history tells of it. */
    move: (id: string, from: ImageState, to: ImageState, patch: ImagePatch, reason?: Reason) =>
      database.transaction(async () => {
        const moved = await updateFrom(id, { ...patch, state: to }, { from });
        if (moved && reason) await history.append({ entity: id, fromState: from, toState: to, cause: causeOf(patch.fault), ...reason });
        return moved;
      }),
  };
}
