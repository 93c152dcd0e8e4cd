import * as fc from "fast-check";
import t from "tap";
import { storeKinds, waitForStatements } from "../../fixtures/store-kinds.ts";
import { checkLives, REPLAY } from "./check-lives.ts";
import { COMMANDS } from "./commands.ts";
import { judge, type Model, newModel } from "./model.ts";
import { FOLDERS, openReal, type Real, SHAPES, USER } from "./real.ts";
import { settle } from "./settle.ts";

/**
 * Both lifecycles under random commands, held against their tables and against what was acknowledged. By default the same few lives in every run;
 * `npm run model` lives thousands of others. A failure prints the shortest life that shows it, and the command that repeats it.
 */
const LONGEST = 40;
/** Longer than one passing of time, shorter than two. */
const PAUSED_MS = 400_000;
t.setTimeout(0);

/** How many lives; those on PostgreSQL take ten times as long. */
const LIVES = { SQLite: { usual: 80 }, PostgreSQL: { usual: 2, share: 0.05 } };
waitForStatements();

for (const kind of storeKinds(t))
  t.test(`${kind.name}: whatever befalls them, containers and images go along their tables to what was acknowledged`, async (t) => {
    const property = fc.asyncProperty(
      fc.constantFrom(0, PAUSED_MS),
      fc.commands(COMMANDS, { maxCommands: LONGEST, size: "max", ...REPLAY }),
      async (pausedMs, commands) => {
        const real = await openReal({ pausedMs, database: await kind.fresh() });
        const model = newModel();
        try {
          await publishAll(model, real);
          await fc.asyncModelRun(() => ({ model, real }), commands);
          await end(model, real);
        } finally {
          await real.close();
        }
      },
    );
    await checkLives(t, property, { file: "test/control/model/lifecycle.test.ts", ...LIVES[kind.name] });
  });

async function publishAll(model: Model, real: Real): Promise<void> {
  for (const folder of FOLDERS) {
    model.published[folder] = { app: "good", version: 0 };
    model.desired.set(folder, { runs: false, by: SHAPES[folder].onDemand ? "system" : "user" });
  }
  await real.publish(model.published);
}

/** With nothing in the way any more, what shall run runs, and what shall then stop stops. */
async function end(model: Model, real: Real): Promise<void> {
  real.world.deaf = false;
  real.open.clear();
  await settle(model, real);
  for (const folder of FOLDERS) {
    const { version } = model.published[folder] ?? {};
    if (version !== undefined) model.published[folder] = { app: "good", version: version + 1_000 };
  }
  await real.publish(model.published);
  await settle(model, real);
  model.hindered.clear();
  for (const runs of [true, false]) {
    for (const folder of FOLDERS) {
      const id = real.row(folder)?.id;
      if (id === undefined) continue;
      model.desired.set(folder, { runs, by: "user" });
      if (runs) await real.lifecycle().requestStart(id, USER.id);
      else await real.lifecycle().requestStop(id, USER.id);
      judge(model, real);
    }
    await settle(model, real);
  }
}
