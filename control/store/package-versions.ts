import { randomUUID } from "node:crypto";
import { sql } from "kysely";
import type { Package } from "../model/entities.ts";
import type { PackageVersion } from "../model/records.ts";
import { createEntityTable } from "./entity-table.ts";
import type { Queries } from "./queries.ts";

export type PackageVersions = ReturnType<typeof createPackageVersions>;

/** What is known of a version's folders without reading them. */
export type FolderCounts = {
  folders: number;
  /** Folders whose image was not ready when the version was replaced. */
  unready: number;
  /** Folders whose container was in ERROR then. */
  failed: number;
};

/** The images that earlier versions run. */
type VersionImage = { ref: string; digest: string | undefined; resolvedId: string | undefined };

/** Random ids in parts of equal size, each from the first text until the second; an empty one is no limit. */
const ID_PARTS = [
  ["", "4"],
  ["4", "8"],
  ["8", "c"],
  ["c", ""],
] as const;

export function createPackageVersions(queries: Queries) {
  const { builder, database, raw, run, select } = queries;
  const versions = createEntityTable(queries, "package_versions", "id");
  const folders = createEntityTable(queries, "version_folders", "versionId");
  const ofPackage = versions.list((query, values: { packageId: string }) =>
    query.where("package_id", "=", values.packageId).orderBy("number", "desc"),
  );
  const ofVersion = folders.list((query, values: { versionId: string }) => query.where("version_id", "=", values.versionId).orderBy("folder"));
  const counts = select((values: { packageId: string }) =>
    raw(
      sql<{ versionId: string } & Record<keyof FolderCounts, number | string>>`select version_id as "versionId", count(*) as folders,
          sum(case when image_state = 'READY' then 0 else 1 end) as unready, sum(case when container_state = 'ERROR' then 1 else 0 end) as failed
        from version_folders where version_id in (select id from package_versions where package_id = ${values.packageId}) group by version_id`,
    ),
  );
  const images = select(() => builder.selectFrom("version_folders").select(["ref", "digest", "resolved_id"]).distinct());
  const files = select((values: { packageId: string }) =>
    raw(
      sql<{ folder: string; files: string }>`select distinct folder, files from version_folders
        where version_id in (select id from package_versions where package_id = ${values.packageId})`,
    ),
  );
  // Nothing is parsed.
  const copySome = run((values: { versionId: string; packageId: string; from: string; until: string }) =>
    raw(
      sql`insert into version_folders (version_id, folder, container, image, ref, digest, resolved_id, mutable, content_hash, dockerfile,
            dockerfile_path, files, warnings, config, env, image_state, container_state)
          select cast(${values.versionId} as text), image.folder, container.name, image.name, image.ref, image.digest, image.resolved_id, image.mutable,
            image.content_hash, image.dockerfile, image.dockerfile_path, image.files, image.warnings, container.config, container.env, image.state,
            container.state
          from images as image join containers as container on container.package_id = image.package_id and container.folder = image.folder
            and container.replica_of is null
          where image.package_id = ${values.packageId} and image.state <> 'DELETED'
            and image.id >= cast(${values.from} as text) and (cast(${values.until} as text) = '' or image.id < cast(${values.until} as text))`,
    ),
  );
  /** Of 500 folders a part takes SQLite up to 10 ms. */
  const copyFolders = async (values: { versionId: string; packageId: string }) => {
    for (const [from, until] of ID_PARTS) await copySome({ ...values, from, until });
  };
  const removeUntil = run((values: { packageId: string; number: number }) =>
    builder.deleteFrom("package_versions").where("package_id", "=", values.packageId).where("number", "<=", values.number),
  );
  return {
    /** The newest first. */
    of: (packageId: string): Promise<PackageVersion[]> => ofPackage({ packageId }),
    folders: (versionId: string) => ofVersion({ versionId }),
    /** By the versions' ids; the current version has none. */
    counts: async (packageId: string): Promise<Map<string, FolderCounts>> =>
      new Map(
        (await counts({ packageId })).map(({ versionId, ...of }) => [
          versionId,
          { folders: Number(of.folders), unready: Number(of.unready), failed: Number(of.failed) },
        ]),
      ),
    /** Of all packages, for a registry that must keep them. */
    images: async (): Promise<VersionImage[]> =>
      (await images({})).map(({ ref, digest, resolved_id }) => ({ ref, digest: digest ?? undefined, resolvedId: resolved_id ?? undefined })),
    /** Where the files of each folder's versions are, by folder. */
    files: async (packageId: string): Promise<Map<string, string[]>> => {
      const byFolder = Map.groupBy(await files({ packageId }), ({ folder }) => folder);
      return new Map([...byFolder].map(([folder, rows]) => [folder, rows.map((row) => row.files)]));
    },
    /**
     * Begins a version and copies the folders of the one before, of which there are `keep` afterwards. Call it in the transaction of the publish, before
     * anything of the package changes. `before`: the package's row until now; undefined for a new package.
     */
    begin: (
      { packageId, version, byUser, restores }: Pick<PackageVersion, "packageId" | "version" | "byUser" | "restores">,
      { before, keep, now }: { before: Package | undefined; keep: number; now: number },
    ): Promise<PackageVersion> =>
      database.transaction(async () => {
        const [newest] = await ofPackage({ packageId });
        let number = newest?.number ?? 0;
        let current = newest?.replacedOn === undefined ? newest : undefined;
        if (before && !current) {
          // Published by a berth that had no versions.
          const row = {
            packageId,
            version: before.version,
            publishedOn: before.updatedOn,
            byUser: undefined,
            restores: undefined,
            replacedOn: undefined,
          };
          current = await versions.insert({ id: randomUUID(), number: ++number, ...row });
        }
        if (current) {
          if (keep > 0) await copyFolders({ versionId: current.id, packageId });
          await versions.update(current.id, { replacedOn: now });
        }
        await removeUntil({ packageId, number: number - keep });
        return versions.insert({
          id: randomUUID(),
          packageId,
          number: number + 1,
          version,
          publishedOn: now,
          byUser,
          restores,
          replacedOn: undefined,
        });
      }),
  };
}
