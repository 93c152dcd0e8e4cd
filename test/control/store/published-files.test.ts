import { existsSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openPackageFiles } from "../../../control/packages/publish/package-files.ts";
import { openStore } from "../../../control/store/open-store.ts";
import type { PostgresOptions } from "../../../control/store/postgres/address.ts";
import { PART_BYTES } from "../../../control/store/published-files.ts";
import { systemClock } from "../../../lib/clock.ts";
import { flushToDisk } from "../../../lib/replace-file.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { startPostgres } from "../../fixtures/postgres.ts";
import { openDisk } from "../../fixtures/power-failure.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { newContainer, newImage, PACKAGE, USER } from "../lifecycle/lifecycle-fixture.ts";

const server = await startPostgres(t);
const clock = systemClock();
const CONFIG = { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };
const [EARLIER, CURRENT, UNUSED] = ["a", "b", "c"].map((hash) => `packages/${PACKAGE}/web/${hash.repeat(64)}`) as [string, string, string];

/** A shared store with a package of two versions, whose files this process published, and files that it did not come to record. */
async function publishTwice(postgres: PostgresOptions): Promise<void> {
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock, postgres });
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  const owner = await store.packages.insert({ id: PACKAGE, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  const image = await store.images.insert({ ...newImage("web", 7), files: EARLIER });
  await store.containers.insert(newContainer(image, CONFIG, 7));
  await store.packageVersions.begin({ packageId: PACKAGE, version: "1.1.0", byUser: USER, restores: undefined }, { before: owner, keep: 5, now: 8 });
  await store.images.update(image.id, { files: CURRENT });
  for (const files of [EARLIER, CURRENT, UNUSED]) {
    mkdirSync(join(folder, files), { recursive: true });
    writeFileSync(join(folder, files, "Dockerfile"), `FROM scratch # ${files}`);
    await store.publishedFiles.save(files);
  }
  await store.close();
}

t.test("the next leader has the files of earlier versions too, to which packages may return", async (t) => {
  const postgres = await server.database();
  await publishTwice(postgres);
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock, postgres });
  t.teardown(() => store.close());
  for (const files of [EARLIER, CURRENT]) {
    await store.publishedFiles.fetch(files);
    t.equal(readFileSync(join(folder, files, "Dockerfile"), "utf8"), `FROM scratch # ${files}`);
  }
  t.notOk(await store.publishedFiles.has(UNUSED, "Dockerfile"), "what no package recorded is removed");
  await t.rejects(store.publishedFiles.fetch(UNUSED), { code: "IMAGE_NOT_FOUND", message: /publish the package again/ });
  t.notOk(existsSync(join(folder, UNUSED)));
});

t.test("a publish that fails at a new leader removes no stored files of the same content", async (t) => {
  const postgres = await server.database();
  await publishTwice(postgres);
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock, postgres });
  t.teardown(() => store.close());
  const files = await openPackageFiles(folder, async () => true, store.publishedFiles);
  const place = async (hash: string) => {
    const from = await files.incoming();
    writeFileSync(join(from, "Dockerfile"), "FROM scratch");
    return files.placing(PACKAGE, [{ from, folder: "web", hash }], new AbortController().signal, async () => {
      throw new Error("refused");
    });
  };
  await t.rejects(place("b".repeat(64)), { message: "refused" });
  t.ok(await store.publishedFiles.has(CURRENT, "Dockerfile"), "an image is run from them");
  await t.rejects(place("d".repeat(64)), { message: "refused" });
  t.notOk(await store.publishedFiles.has(`packages/${PACKAGE}/web/${"d".repeat(64)}`, "Dockerfile"), "those of the failed publish are removed");
});

t.test("a folder that was fetched is whole, also after a power failure", async (t) => {
  const postgres = await server.database();
  await publishTwice(postgres);
  const disk = openDisk(t);
  const store = await openStore({ folder: disk.folder, clock, postgres });
  t.teardown(() => store.close());
  await store.publishedFiles.fetch(CURRENT);
  // What comes next to the disk has the new name with it.
  flushToDisk(join(disk.folder, CURRENT, "../.."));
  const after = disk.afterPowerFailure();
  t.equal(readFileSync(join(after, CURRENT, "Dockerfile"), "utf8"), `FROM scratch # ${CURRENT}`);
});

const LARGE = Buffer.alloc(30 * PART_BYTES, "berth ");

/** A shared store, and a folder of its data folder that is to be stored. */
async function openLarge(postgres: PostgresOptions) {
  const folder = tempFolder(t);
  const store = await openStore({ folder, clock, postgres });
  mkdirSync(join(folder, CURRENT), { recursive: true });
  writeFileSync(join(folder, CURRENT, "large.bin"), LARGE);
  return { folder, store };
}

t.test("files of which only a part could be stored are stored anew by the next publish", async (t) => {
  const postgres = await server.database();
  const { store } = await openLarge(postgres);
  t.teardown(() => store.close());
  // As a database that is away from the second transaction on.
  await server.query(
    `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'away' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER no_insert BEFORE INSERT ON published_files FOR EACH ROW WHEN (NEW.part > 10) EXECUTE FUNCTION fail();
      CREATE TRIGGER no_delete BEFORE DELETE ON published_files FOR EACH ROW EXECUTE FUNCTION fail()`,
    postgres.url,
  );
  await t.rejects(store.publishedFiles.save(CURRENT), { code: "STORE_FULL" });
  await server.query("DROP TRIGGER no_insert ON published_files; DROP TRIGGER no_delete ON published_files", postgres.url);
  await store.publishedFiles.save(CURRENT);

  const folder = tempFolder(t);
  const other = await openStore({ folder, clock, postgres, isStandby: true });
  t.teardown(() => other.close());
  await other.publishedFiles.fetch(CURRENT);
  t.ok(readFileSync(join(folder, CURRENT, "large.bin")).equals(LARGE));
  t.equal(await store.publishedFiles.save(CURRENT), false, "stored already");
});

t.test("files that are removed while they are fetched are not taken for the whole", async (t) => {
  const postgres = await server.database();
  const { store } = await openLarge(postgres);
  t.teardown(() => store.close());
  await store.publishedFiles.save(CURRENT);
  const folder = tempFolder(t);
  const other = await openStore({ folder, clock, postgres, isStandby: true });
  t.teardown(() => other.close());
  const fetched = other.publishedFiles.fetch(CURRENT).then(
    () => true,
    () => false,
  );
  await eventually("the first part to arrive", () =>
    globSync(join(folder, "{incoming/*,packages/*/*/*}/large.bin")).some((file) => statSync(file).size > 0),
  );
  await store.publishedFiles.remove([CURRENT]);
  if (await fetched) t.ok(readFileSync(join(folder, CURRENT, "large.bin")).equals(LARGE));
  else t.notOk(existsSync(join(folder, CURRENT)));
});
