import type { Container, Image } from "../model/entities.ts";
import { historyIn, type Reason } from "./history.ts";
import { rowsOf } from "./rows.ts";
import type { Sql } from "./sql.ts";
import { columnName, TABLES } from "./tables.ts";

/** `name`: its container's. The ids are those of the rows that it becomes. */
export type StagedFolder = { folder: string; name: string; imageId: string; containerId: string };

export type Staging = ReturnType<typeof stagingIn>;

const IMAGE_FIELDS = Object.keys(TABLES.images).map(columnName).join(", ");
const CONTAINER_FIELDS = Object.keys(TABLES.containers).map(columnName).join(", ");

/** An image is redefined where its reference or its files are others. */
const IS_OTHER_IMAGE = "(image.ref <> new_image.ref OR image.files <> new_image.files)";

/**
 * Folders of packages that are being published: each is one image and one container, as if they were new. They lie in tables in memory, a few are added in each
 * turn of the event loop, and `record` writes all of a package in a few statements. What is not recorded ends with the process.
 */
export function stagingIn(sql: Sql) {
  for (const table of ["images", "containers"]) {
    sql.run(`CREATE TEMP TABLE staged_${table} AS SELECT * FROM ${table} WHERE FALSE`);
    sql.run(`CREATE INDEX temp.staged_${table}_by_id ON staged_${table} (id)`);
  }
  const images = rowsOf<Image>(sql, "staged_images", "id", TABLES.images);
  const containers = rowsOf<Container>(sql, "staged_containers", "id", TABLES.containers);
  const history = historyIn(sql);

  /** First of all: whether an image changes is seen as long as its old row is there. */
  const redefineContainers = (packageId: string, now: number) => {
    sql.run(
      `UPDATE containers SET
          friendly_name = new.friendly_name, config = new.config, env = new.env, updated_on = new.updated_on,
          generation = containers.generation + new.changed,
          attempts = iif(new.changed, 0, containers.attempts), not_before = iif(new.changed, 0, containers.not_before)
        FROM (
          SELECT staged.*, (image.id IS NULL OR ${IS_OTHER_IMAGE} OR before.config <> staged.config OR before.env <> staged.env) AS changed
          FROM staged_containers AS staged
          JOIN containers AS before ON before.id = staged.id
          JOIN staged_images AS new_image ON new_image.id = staged.image_id
          LEFT JOIN images AS image ON image.id = staged.image_id
          WHERE staged.package_id = ?
        ) AS new
        WHERE containers.id = new.id AND containers.package_id = new.package_id AND containers.folder = new.folder`,
      packageId,
    );
    // Those that were made by hand of an image have the image's name, a slash and their id for a folder.
    sql.run(
      `UPDATE containers SET generation = generation + 1, attempts = 0, not_before = 0, updated_on = ?
        WHERE package_id = ? AND instr(folder, '/') > 0 AND image_id IN (
          SELECT image.id FROM staged_images AS new_image JOIN images AS image ON image.id = new_image.id WHERE new_image.package_id = ? AND ${IS_OTHER_IMAGE}
        )`,
      Math.trunc(now),
      packageId,
      packageId,
    );
  };

  const recordImages = (packageId: string) => {
    // A tag may have moved, so every publish validates again, even where nothing else changed.
    sql.run(
      `UPDATE images SET
          friendly_name = new.friendly_name, version = new.version, ref = new.ref, dockerfile = new.dockerfile, dockerfile_path = new.dockerfile_path,
          files = new.files, mutable = new.mutable, content_hash = new.content_hash, warnings = new.warnings,
          state = new.state, since = new.since, fault = NULL, logs = '', updated_on = new.updated_on,
          resolved_id = iif(images.ref = new.ref, images.resolved_id, NULL), digest = iif(images.ref = new.ref, images.digest, NULL),
          exposed = iif(images.ref = new.ref, images.exposed, '[]')
        FROM staged_images AS new WHERE images.id = new.id AND new.package_id = ?`,
      packageId,
    );
    sql.run(
      `INSERT INTO images (${IMAGE_FIELDS}) SELECT ${IMAGE_FIELDS} FROM staged_images AS new
        WHERE package_id = ? AND NOT EXISTS (SELECT 1 FROM images WHERE images.id = new.id)`,
      packageId,
    );
  };

  const insertContainers = (packageId: string) => {
    // What ran under such an id before it was removed may still run, and is not what is defined now: it goes first.
    sql.run(
      "UPDATE staged_containers SET state = 'STOPPING' WHERE package_id = ? AND id IN (SELECT id FROM tombstones WHERE cleared_on IS NULL)",
      packageId,
    );
    sql.run("DELETE FROM tombstones WHERE id IN (SELECT id FROM staged_containers WHERE package_id = ?)", packageId);
    sql.run(
      `INSERT INTO containers (${CONTAINER_FIELDS}) SELECT ${CONTAINER_FIELDS} FROM staged_containers AS new
        WHERE package_id = ? AND NOT EXISTS (
          SELECT 1 FROM containers WHERE containers.id = new.id AND containers.package_id = new.package_id AND containers.folder = new.folder
        )`,
      packageId,
    );
  };

  /** Apart from all else: SQLite writes the indexes of each column that is named, also where its value stays. */
  const rename = (packageId: string) => {
    sql.run(
      "UPDATE images SET name = new.name FROM staged_images AS new WHERE images.id = new.id AND new.package_id = ? AND images.name <> new.name",
      packageId,
    );
    sql.run(
      `UPDATE containers SET name = new.name, image_id = new.image_id FROM staged_containers AS new
        WHERE containers.id = new.id AND new.package_id = ? AND (containers.name <> new.name OR containers.image_id <> new.image_id)`,
      packageId,
    );
  };

  return {
    /** In the order of `stage`. */
    of: (packageId: string) =>
      sql.all<StagedFolder>(
        "SELECT folder, name, image_id AS imageId, id AS containerId FROM staged_containers WHERE package_id = ? ORDER BY rowid",
        packageId,
      ),
    stage: (image: Image, container: Container) => {
      images.insert(image);
      containers.insert(container);
    },
    /** Where the folder came to have other rows since it was staged. */
    setIds: (packageId: string, folder: string, { imageId, containerId, service }: { imageId: string; containerId: string; service: string }) => {
      sql.run("UPDATE staged_images SET id = ? WHERE package_id = ? AND folder = ?", imageId, packageId, folder);
      sql.run(
        "UPDATE staged_containers SET id = ?, image_id = ?, service = ? WHERE package_id = ? AND folder = ?",
        containerId,
        imageId,
        service,
        packageId,
        folder,
      );
    },
    /**
     * Writes all that is staged of the package over the rows that have the same ids, or as new rows; call it in a transaction. A container with another
     * definition gets a new generation. `known`: the images that have a row, whose history tells of it.
     */
    record: (packageId: string, known: readonly string[], reason: Reason) =>
      sql.together(() => {
        redefineContainers(packageId, reason.at);
        history.appendToImages(JSON.stringify(known), "PENDING_VALIDATION", reason);
        recordImages(packageId);
        insertContainers(packageId);
        rename(packageId);
      }),
    clear: (packageId: string) =>
      sql.together(() => {
        for (const table of ["images", "containers"]) sql.run(`DELETE FROM staged_${table} WHERE package_id = ?`, packageId);
      }),
  };
}
