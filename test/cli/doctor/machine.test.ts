import { mkdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { backUp } from "../../../control/store/backup.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { noteRollback } from "../../../control/store/data-folder.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { look } from "./look.ts";

const clock = createStillClock();

t.test("a store that SQLite finds damaged is wrong, with the backup to restore; without --store it is not checked", async (t) => {
  const folder = join(tempFolder(t), "data");
  mkdirSync(folder);
  const env = { BERTH_DATA: folder };
  t.match(await look(t, ["settings", "store"], env), { store: { state: "not looked at" } }, "where there is none");
  const store = await openStore({ folder, clock });
  await store.users.insert({ id: "ada", login: "ada", friendlyName: "Ada", admin: true, createdOn: 1 });
  await store.close();
  t.match(await look(t, ["settings", "store"], env), { store: { state: "not looked at" } });
  t.match(await look(t, ["settings", "store"], env, { store: true }), { store: { state: "ok" } });
  const file = join(folder, "../backup.db");
  backUp({ folder, file, version: "0.0.0-test", clock });
  const bytes = readFileSync(join(folder, "berth.db"));
  bytes.fill(0x5a, Math.ceil(bytes.length / 2));
  writeFileSync(join(folder, "berth.db"), bytes);
  const { store: row } = await look(t, ["settings", "store"], env, { store: true });
  t.match(row, { state: "wrong" });
  t.match(JSON.stringify(row), `berth restore ${file}`);
});

t.test("a store that lost changes is wrong until an administrator confirms it", async (t) => {
  const folder = join(tempFolder(t), "data");
  await (await openStore({ folder, clock })).close();
  noteRollback(folder, { at: clock.now(), seen: 12, found: 11 });
  const { store: row } = await look(t, ["settings", "store"], { BERTH_DATA: folder });
  t.match(row, { state: "wrong" });
  t.match(JSON.stringify(row), /had revision 12, but the store had 11.*store-rollback\.json/);
});

t.test("a backup counts from when it was made, also when its file has been moved elsewhere", async (t) => {
  const folder = join(tempFolder(t), "data");
  await (await openStore({ folder, clock })).close();
  const backupRow = async () => JSON.stringify((await look(t, ["settings", "backup"], { BERTH_DATA: folder }))["backup"]);
  t.match(await backupRow(), /knows no backup/);
  const file = join(folder, "../backup.db");
  backUp({ folder, file, version: "0.0.0-test", clock });
  renameSync(file, `${file}.elsewhere`);
  t.match(await backupRow(), /of 0 days ago/);
  t.notMatch(await backupRow(), /warning/);
  const old = new Date(Date.now() - 30 * 86_400_000);
  utimesSync(join(folder, "newest-backup"), old, old);
  t.match(await backupRow(), /is 30 days old/);
});
