import { sql } from "kysely";
import type { Container, Image } from "../model/entities.ts";
import { createEntityTable } from "./entity-table.ts";
import type { History, Reason } from "./history.ts";
import type { Queries } from "./queries.ts";
import { columnName, TABLES } from "./tables.ts";

/** `name`: its container's. The ids are those of the rows that it becomes. */
export type StagedFolder = { folder: string; name: string; imageId: string; containerId: string };

export type Staging = Awaited<ReturnType<typeof openStaging>>;

const namesOf = (table: "images" | "containers") => sql.join(Object.keys(TABLES[table]).map((field) => sql.ref(columnName(field))));

/** An image is redefined where its reference or its files are others. */
const IS_OTHER_IMAGE = sql`(image.ref <> new_image.ref or image.files <> new_image.files)`;

type OfPackage = { packageId: string };

/**
 * Folders of packages that are being published: each is one image and one container, as if they were new. They lie in tables of their own, a few are added in
 * each turn of the event loop, and `record` writes all of a package in a few statements. What is not recorded ends with the process, or by `reset`.
 */
export async function openStaging(queries: Queries, history: Pick<History, "appendToImages">) {
  const { database, dialect, raw } = queries;
  const run = <P extends object>(build: (values: P) => ReturnType<typeof sql>) => queries.run<P>((values) => raw(build(values)));
  if (dialect.staging === "temporary")
    for (const table of ["images", "containers"]) {
      const index = (name: string) => sql.ref(`temp.staged_${table}_by_${name}`);
      await run(() => sql`create temp table ${sql.table(`staged_${table}`)} as select * from ${sql.table(table)} where false`)({});
      await run(() => sql`create index ${index("id")} on ${sql.table(`staged_${table}`)} (id)`)({});
      await run(() => sql`create index ${index("folder")} on ${sql.table(`staged_${table}`)} (package_id, folder)`)({});
    }
  const images = createEntityTable(queries, "images", "id", "staged_images");
  const containers = createEntityTable(queries, "containers", "id", "staged_containers");

  /** First of all: whether an image changes is visible as long as its old row is there. */
  const redefine = run(
    ({ packageId }: OfPackage) => sql`
      update containers set
          friendly_name = new.friendly_name, config = new.config, env = new.env, updated_on = new.updated_on,
          generation = containers.generation + case when new.changed then 1 else 0 end,
          attempts = case when new.changed then 0 else containers.attempts end,
          not_before = case when new.changed then 0 else containers.not_before end
        from (
          select staged.*, (image.id is null or ${IS_OTHER_IMAGE} or before.config <> staged.config or before.env <> staged.env) as changed
          from staged_containers as staged
          join containers as before on before.id = staged.id
          join staged_images as new_image on new_image.id = staged.image_id
          left join images as image on image.id = staged.image_id
          where staged.package_id = ${packageId}
        ) as new
        where containers.id = new.id and containers.package_id = new.package_id and containers.folder = new.folder`,
  );
  // Those that were made by hand of an image have the image's name, a slash and their id for a folder.
  const redefineByHand = run(
    ({ packageId, now }: OfPackage & { now: number }) => sql`
      update containers set generation = generation + 1, attempts = 0, not_before = 0, updated_on = ${now}
        where package_id = ${packageId} and ${dialect.contains(sql.ref("folder"), sql.lit("/"))} and image_id in (
          select image.id from staged_images as new_image join images as image on image.id = new_image.id
          where new_image.package_id = ${packageId} and ${IS_OTHER_IMAGE}
        )`,
  );
  // A tag may have moved, so every publish validates again, even where nothing else changed.
  const updateImages = run(
    ({ packageId }: OfPackage) => sql`
      update images set
          friendly_name = new.friendly_name, version = new.version, ref = new.ref, dockerfile = new.dockerfile, dockerfile_path = new.dockerfile_path,
          files = new.files, mutable = new.mutable, content_hash = new.content_hash, warnings = new.warnings,
          state = new.state, since = new.since, fault = null, logs = '', updated_on = new.updated_on,
          resolved_id = case when images.ref = new.ref then images.resolved_id end, digest = case when images.ref = new.ref then images.digest end,
          exposed = case when images.ref = new.ref then images.exposed else '[]' end,
          command = case when images.ref = new.ref then images.command else '[]' end,
          healthcheck = case when images.ref = new.ref then images.healthcheck end
        from staged_images as new where images.id = new.id and new.package_id = ${packageId}`,
  );
  const insertImages = run(
    ({ packageId }: OfPackage) => sql`
      insert into images (${namesOf("images")}) select ${namesOf("images")} from staged_images as new
        where package_id = ${packageId} and not exists (select 1 from images where images.id = new.id)`,
  );
  // What ran under such an id before it was removed may still run, and is not what is defined now: it goes first.
  const stopRemoved = run(
    ({ packageId }: OfPackage) => sql`
      update staged_containers set state = 'STOPPING'
        where package_id = ${packageId} and id in (select id from tombstones where cleared_on is null)`,
  );
  const removeTombstones = run(
    ({ packageId }: OfPackage) => sql`delete from tombstones where id in (select id from staged_containers where package_id = ${packageId})`,
  );
  const insertContainers = run(
    ({ packageId }: OfPackage) => sql`
      insert into containers (${namesOf("containers")}) select ${namesOf("containers")} from staged_containers as new
        where package_id = ${packageId} and not exists (
          select 1 from containers where containers.id = new.id and containers.package_id = new.package_id and containers.folder = new.folder
        )`,
  );
  // Apart from all else: SQLite writes the indexes of each column that is named, also where its value stays.
  const renameImages = run(
    ({ packageId }: OfPackage) => sql`
      update images set name = new.name from staged_images as new where images.id = new.id and new.package_id = ${packageId} and images.name <> new.name`,
  );
  const renameContainers = run(
    ({ packageId }: OfPackage) => sql`
      update containers set name = new.name, image_id = new.image_id from staged_containers as new
        where containers.id = new.id and new.package_id = ${packageId} and (containers.name <> new.name or containers.image_id <> new.image_id)`,
  );
  const recordSteps = [updateImages, insertImages, stopRemoved, removeTombstones, insertContainers, renameImages, renameContainers];

  const folders = queries.statement(({ packageId }: OfPackage) =>
    raw(
      sql<StagedFolder>`select folder, name, image_id as "imageId", id as "containerId" from staged_containers
        where package_id = ${packageId} order by ${dialect.insertion}`,
    ),
  );
  type StagedIds = OfPackage & { folder: string; imageId: string; containerId: string; service: string };
  const setImageId = run(
    ({ packageId, folder, imageId }: StagedIds) =>
      sql`update staged_images set id = ${imageId} where package_id = ${packageId} and folder = ${folder}`,
  );
  const setContainerIds = run(
    ({ packageId, folder, imageId, containerId, service }: StagedIds) =>
      sql`update staged_containers set id = ${containerId}, image_id = ${imageId}, service = ${service}
        where package_id = ${packageId} and folder = ${folder}`,
  );
  const clearImages = run(({ packageId }: OfPackage) => sql`delete from staged_images where package_id = ${packageId}`);
  const resetImages = run(() => sql`delete from staged_images`);
  const resetContainers = run(() => sql`delete from staged_containers`);
  const clearContainers = run(({ packageId }: OfPackage) => sql`delete from staged_containers where package_id = ${packageId}`);

  return {
    /** In the order of `stage`. */
    // As a write: only that connection has the tables.
    of: async (packageId: string) => (await database.write(folders({ packageId }))) as StagedFolder[],
    stage: (image: Image, container: Container) =>
      database.transaction(async () => {
        await images.insert(image);
        await containers.insert(container);
      }),
    /** Where the folder came to have other rows since it was staged. */
    setIds: async (packageId: string, folder: string, ids: { imageId: string; containerId: string; service: string }) => {
      await setImageId({ packageId, folder, ...ids });
      await setContainerIds({ packageId, folder, ...ids });
    },
    /**
     * Writes all that is staged of the package over the rows that have the same ids, or as new rows; call it in a transaction. A container with another
     * definition gets a new generation. `known`: the images that have a row, whose history tells of it.
     */
    record: (packageId: string, known: readonly string[], reason: Reason) =>
      database.transaction(async () => {
        await redefine({ packageId });
        await redefineByHand({ packageId, now: Math.trunc(reason.at) });
        await history.appendToImages(known, "PENDING_VALIDATION", reason);
        for (const step of recordSteps) await step({ packageId });
      }),
    /** Removes what a process left that ended while it published. */
    reset: () =>
      database.transaction(async () => {
        await resetImages({});
        await resetContainers({});
      }),
    clear: (packageId: string) =>
      database.transaction(async () => {
        await clearImages({ packageId });
        await clearContainers({ packageId });
      }),
  };
}
