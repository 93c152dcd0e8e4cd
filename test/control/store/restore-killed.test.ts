import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import t from "tap";
import { backUp } from "../../../control/store/backup.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { restore } from "../../../control/store/restore.ts";

import { createStillClock, pause } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";

const clock = createStillClock();
const STORE_FOLDER = join(import.meta.dirname, "../../../control/store");
/** Moments of a restore, which takes some 100 ms here; the last of them come after its end. */
const KILLS = 14;

/** Restores, and says in one line when it begins and when it is done. */
const SCRIPT = (folder: string, file: string) => `
  import { restore } from ${JSON.stringify(join(STORE_FOLDER, "restore.ts"))};
  import { systemClock } from ${JSON.stringify(join(STORE_FOLDER, "../../lib/clock.ts"))};
  console.log("begun");
  restore({ folder: ${JSON.stringify(folder)}, file: ${JSON.stringify(file)}, version: "1", clock: systemClock() });
  console.log("done");`;

t.test("a restore that is killed at any moment leaves the old store or the new one, whole, and may be called again", async (t) => {
  const base = t.testdir();
  const [folder, file] = [join(base, "data"), join(base, "backup.db")];
  const users = async () => {
    const store = await openStore({ folder, clock });
    const logins: string[] = [];
    for (const login of ["old", "new"]) if (await store.users.byLogin(login)) logins.push(login);
    await store.close();
    return logins.join();
  };
  const add = async (login: string) => {
    const store = await openStore({ folder, clock });
    await store.users.insert({ id: login, login, friendlyName: "x".repeat(2_000_000), admin: false, createdOn: 1 });
    for (const other of ["old", "new"]) if (other !== login) await store.users.remove(other);
    await store.close();
  };
  await add("new");
  backUp({ folder, file, version: "1", clock });
  await add("old");

  const states = new Set<string>();
  let came = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    if ((await users()) === "new") await add("old");
    const child = spawn(process.execPath, ["--input-type=module", "-e", SCRIPT(folder, file)], { stdio: ["ignore", "pipe", "inherit"] });
    const gone = once(child, "exit");
    let output = "";
    child.stdout.on("data", (piece: Buffer) => (output += piece.toString()));
    await eventually("its begin", async () => output.includes("begun"));
    // Where it is then differs from machine to machine; the last one is sure to be over.
    if (kill === KILLS - 1) await gone;
    else await pause(kill * 12);
    child.kill("SIGKILL");
    const [code, signal] = (await gone) as [number | null, NodeJS.Signals | null];
    t.ok(code === 0 || signal === "SIGKILL", "what an earlier one left behind does no harm");
    if (!output.includes("done")) came++;
    const now = await users();
    t.ok(now === "old" || now === "new", now);
    states.add(now);
  }
  t.ok(came > 0, "some were killed before the end");
  t.same([...states].toSorted(), ["new", "old"]);
  restore({ folder, file, version: "1", clock });
  t.equal(await users(), "new");
});
