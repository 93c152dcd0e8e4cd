import assert from "node:assert/strict";
import { isPassing, isPassingImage } from "../../../control/model/states.ts";
import { turns } from "../../fixtures/clock.ts";
import { isGood, judge, type Model } from "./model.ts";
import { type Folder, FOLDERS, type Real } from "./real.ts";

const STEP_MS = 5_000;
/** A call that hangs, the longest back-off and another try. */
const SETTLES_WITHIN_MS = 20 * 60_000;

/** Repairs the engine and lets time pass until all is as desired, twice in a row. Throws what still is not. */
export async function settle(model: Model, real: Real): Promise<void> {
  real.world.away = false;
  real.script.clear();
  let amiss: string[] = [];
  let well = 0;
  for (let passed = 0; passed < SETTLES_WITHIN_MS && well < 2; passed += STEP_MS) {
    await real.report();
    await real.clock().advance(STEP_MS);
    await turns(10);
    judge(model, real);
    amiss = unsettled(model, real);
    well = amiss.length === 0 ? well + 1 : 0;
  }
  assert.deepEqual(amiss, [], "everything settles in its desired state");
  model.quiet = true;
  for (const folder of FOLDERS) {
    const row = real.row(folder);
    if (row?.state === "STARTED" && real.rows().images.find(row.imageId)?.state === "READY") model.hindered.delete(folder);
  }
}

/** In words: what is not as desired though nothing hinders it. */
function unsettled(model: Model, real: Real): string[] {
  const facts = real.world.facts();
  const mine = new Set<string>();
  const amiss: string[] = [];
  for (const folder of FOLDERS) {
    const row = real.row(folder);
    if (!row) continue;
    const fact = facts.find(({ labels }) => labels.container === row.id);
    const image = real.rows().images.find(row.imageId);
    mine.add(row.id);
    const say = (what: string) => amiss.push(`${folder} ${what}: ${row.state} ${row.fault?.code ?? ""}`);
    if (image && isPassingImage(image)) say("waits for its image");
    if (isPassing(row.state)) say("is starting or stopping");
    else if (row.desiredInstances === 0) {
      const rest = model.desired.get(folder)?.by === "user" ? "USER_STOPPED" : "SYSTEM_STOPPED";
      if (row.state !== rest) say(`is not ${rest}`);
      if (fact?.running) say("runs though it is to rest");
      if (fact?.paused !== (row.pausedOn === undefined ? undefined : true)) say("does not know whether it lies frozen");
      if (fact?.paused && (rest === "USER_STOPPED" || fact.labels.generation !== row.generation)) say("lies frozen for nothing");
    } else if (row.state === "ERROR") {
      if (!mayFail(model, folder)) say("failed though nothing hindered it");
      if (fact?.running && fact.labels.generation === row.generation) say("runs in spite of its error");
    } else if (row.state !== "STARTED") say("does not run");
    else if (!fact?.running) say("only seems to run");
    else {
      if (fact.addresses[0]?.port !== row.addresses[0]?.port) say("is somewhere else");
      if (fact.labels.generation !== row.runningGeneration) say(`runs as ${fact.labels.generation}, not ${row.runningGeneration}`);
      if (row.runningGeneration !== row.generation && image?.state !== "ERROR") say("runs an older definition");
      if (image?.state === "ERROR" && !mayFail(model, folder)) say("has a bad image");
    }
  }
  for (const { service, labels, exit } of facts) if (!exit && !mine.has(labels.container)) amiss.push(`${service} is an orphan`);
  return amiss;
}

function mayFail(model: Model, folder: Folder): boolean {
  return model.hindered.has(folder) || !isGood(model, folder);
}
