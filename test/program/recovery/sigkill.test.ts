import Sqlite from "better-sqlite3";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openLifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { listening, openMemoryWorld } from "../../fixtures/memory-driver.ts";
import { createStillClock, turns } from "../../fixtures/clock.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const CONTAINERS = 7;
/** After how many acknowledged commands the kill is sent; where it lands, in a write or between two, is the machine's choice. */
const AFTER = [1, 2, 5, 9, 17, 33, 64, 130];

for (const after of AFTER) {
  t.test(`a real kill -9 after ${after} acknowledged commands loses none of them, and damages nothing`, async (t) => {
    const folder = join(tempFolder(t), "data");
    const child = spawn(process.execPath, [join(import.meta.dirname, "endless-commands.ts"), folder, String(CONTAINERS)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.split("\n").length > after) child.kill("SIGKILL");
    });
    await once(child, "close");
    t.equal(child.signalCode, "SIGKILL");
    const commands = output.trim().split("\n");
    const acknowledged = new Map(commands.map((line) => line.split(" ") as [string, string]));

    // As it lies there, with its log of what was not written back yet: a copy, since looking writes that back.
    const copy = join(folder, "copy");
    mkdirSync(copy);
    for (const name of readdirSync(folder)) if (name.startsWith("berth.db")) copyFileSync(join(folder, name), join(copy, name));
    const file = new Sqlite(join(copy, "berth.db"));
    t.equal(file.pragma("integrity_check", { simple: true }), "ok");
    t.same(file.pragma("foreign_key_check"), []);
    file.close();

    const clock = createStillClock(Date.now());
    const store = await openStore({ folder, clock });
    const world = openMemoryWorld(clock, { sockets: false });
    for (const { ref } of await store.images.all()) world.apps.set(ref, listening);
    // The one command that was made and not acknowledged yet may have been recorded.
    const [last = ""] = commands.at(-1)?.split(" ") ?? [];
    const rows = await store.containers.all();
    t.equal(rows.length, CONTAINERS);
    const next = (commands.findIndex((line) => line.startsWith(last)) + 1) % CONTAINERS;
    const unsaid = commands[next]?.split(" ")[0] ?? "";
    const wrong = rows.filter(
      (row) => row.id !== unsaid && String(row.desiredInstances) !== (acknowledged.get(row.id) ?? String(row.desiredInstances)),
    );
    t.same(wrong, [], "what was acknowledged is there");

    const log = openLog({ level: "silent", name: "test" });
    const lifecycle = await openLifecycle({
      store,
      driver: world.open(),
      clock,
      log,
      environment: "test",
      injectedEnv: () => ({}),
      filesFolder: folder,
    });
    await lifecycle.start();
    for (let second = 0; second < 10; second++) {
      await clock.advance(1_000);
      await turns(20);
    }
    t.same(
      (await store.containers.all()).filter(({ state, desiredInstances }) => state !== (desiredInstances === 1 ? "STARTED" : "USER_STOPPED")),
      [],
      "within a reconcile period all is as desired",
    );
    t.equal(world.running().length, (await store.containers.all()).filter(({ desiredInstances }) => desiredInstances === 1).length);
    await lifecycle.close();
    await store.close();
    await world.close();
  });
}
