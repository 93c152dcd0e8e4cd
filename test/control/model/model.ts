import assert from "node:assert/strict";
import {
  CONTAINER_TABLE,
  type ContainerEvent,
  type ContainerState,
  nextState,
  IMAGE_TABLE,
  type ImageEvent,
  type ImageState,
} from "../../../control/model/states.ts";
import { warmUntil } from "../../../control/model/warm-hours.ts";
import type { ContainerConfig } from "../../../control/model/entities.ts";
import { HISTORY_LENGTH } from "../../../control/store/history.ts";
import { type App, type Folder, FOLDERS, type Moved, type Real, SHAPES } from "./real.ts";

/** What was last acknowledged of a container, and what the system may have made of it since. */
type DesiredState = { runs: boolean; by: "user" | "system" };

export type Model = {
  published: Partial<Record<Folder, { app: App; version: number }>>;
  desired: Map<Folder, DesiredState>;
  /** Whose last start may have failed, or may yet: an error of these is not berth's. */
  hindered: Set<Folder>;
  /** Until when a container is busy by its own report, by its id. */
  busy: Map<string, number>;
  /** Nothing has hindered a container since all were last settled. */
  quiet: boolean;
  /** How many of the moves have been judged. */
  judged: number;
};

export function newModel(): Model {
  return { published: {}, desired: new Map(), hindered: new Set(), busy: new Map(), quiet: true, judged: 0 };
}

/** From now on a container may end in an error without a fault of berth. */
export function hinder(model: Model): void {
  model.quiet = false;
  for (const folder of FOLDERS) model.hindered.add(folder);
}

/** Its start is requested while all is well, so that it must not fail. */
export function unhinder(model: Model, folder: Folder): void {
  if (model.quiet && isGood(model, folder)) model.hindered.delete(folder);
}

export function isGood(model: Model, folder: Folder): boolean {
  const app = model.published[folder]?.app;
  return app === "good" || app === "portless";
}

/** What holds at any moment, in the middle of whatever is under way. Throws what does not. */
export function judge(model: Model, real: Real): void {
  const moved = new Set(real.moves.slice(model.judged).map(({ entity }) => entity));
  judgeMoves(model, real);
  for (const entity of moved) judgeHistory(real, entity);
  for (const folder of FOLDERS) {
    const row = real.row(folder);
    const wanted = model.desired.get(folder);
    assert.equal(row === undefined, wanted === undefined, `${folder} is there just as it was published`);
    if (!row || !wanted) continue;
    assert.equal(
      row.desiredInstances,
      wanted.runs ? 1 : 0,
      `${folder}: the acknowledged desired state (${wanted.runs ? "run" : "rest"}) is the row's`,
    );
    if (!wanted.runs) assert.equal(row.stopFor, wanted.by, `${folder}: the one who stopped it is remembered`);
  }
  const owners = real.world.facts().map(({ labels }) => labels.container);
  assert.equal(new Set(owners).size, owners.length, "no container has two services");
}

/** Each move is an edge of its table; only idleness and a loss change a desired state, each where it may. */
function judgeMoves(model: Model, real: Real): void {
  for (const move of real.moves.slice(model.judged)) {
    model.judged++;
    const isImage = real.rows().images.find(move.entity) !== undefined;
    assert.equal(allowed(isImage, move), move.toState, `${move.fromState} -${move.event}-> ${move.toState} is an edge of the table`);
    const folder = isImage ? undefined : FOLDERS.find((name) => real.row(name)?.id === move.entity);
    const wanted = folder && model.desired.get(folder);
    if (!wanted) continue;
    const shape: Partial<ContainerConfig> = SHAPES[folder];
    if (move.event === "idled") assert.ok(shape.shutdownTimeoutMinutes, `${folder} may sleep without traffic`);
    if (move.event === "idled") {
      const idledOn =
        real
          .rows()
          .history.of(move.entity)
          .findLast(({ event }) => event === "idled")?.at ?? 0;
      assert.ok(idledOn >= (model.busy.get(move.entity) ?? 0), `${folder} does not sleep while it is busy`);
      assert.ok(!shape.keepWarm || !warmUntil(shape.keepWarm, idledOn), `${folder} does not sleep within its hours`);
    }
    if (move.toState === "STOPPING" || move.toState === "ERROR") model.busy.delete(move.entity);
    if (move.event === "lostAsleep") assert.ok(shape.onDemand && model.hindered.has(folder), `${folder} may sleep when it is lost, and was`);
    if (move.event === "idled" || move.event === "lostAsleep") model.desired.set(folder, { runs: false, by: "system" });
    // Its warm hours have begun, and no user had it stopped: that is a desired state too.
    if (move.event === "startWished" && !wanted.runs && wanted.by === "system" && shape.keepWarm) {
      const startedOn =
        real
          .rows()
          .history.of(move.entity)
          .findLast(({ event }) => event === "startWished")?.at ?? 0;
      assert.ok(warmUntil(shape.keepWarm, startedOn), `${folder} is started by itself within its hours only`);
      model.desired.set(folder, { runs: true, by: "system" });
      continue;
    }
    if (move.event === "usedAfterAll") model.desired.set(folder, { ...wanted, runs: true });
    const starts = move.event === "startWished" || move.event === "startBegan" || move.event === "answered";
    assert.ok(!starts || wanted.runs, `${folder} ${move.event} while it shall be stopped`);
  }
}

function allowed(isImage: boolean, { fromState, toState, event }: Moved): string | undefined {
  // The progress of a pull renews a state's clock.
  if (event === "") return (isImage ? ["VALIDATING"] : ["STARTING"]).includes(fromState) && fromState === toState ? toState : undefined;
  // Publishing validates anew whatever the state; where that is waited for already, it stays.
  if (isImage && event === "validationWished" && fromState === "PENDING_VALIDATION") return fromState;
  return isImage
    ? nextState(IMAGE_TABLE, fromState as ImageState, event as ImageEvent)
    : nextState(CONTAINER_TABLE, fromState as ContainerState, event as ContainerEvent);
}

/** A history is the moves that were made, one after the other, up to the state that the row has now. */
function judgeHistory(real: Real, entity: string): void {
  const state = (real.rows().containers.find(entity) ?? real.rows().images.find(entity))?.state;
  // A removed container has none.
  if (state === undefined) return;
  const history = real.rows().history.of(entity).slice(-HISTORY_LENGTH);
  const since = real.moves.slice(real.forgotten.get(entity) ?? 0);
  const made = since.filter((move) => move.entity === entity && move.event !== "").slice(-HISTORY_LENGTH);
  assert.deepEqual(history.map(inWords), made.map(inWords), "a history tells the moves as they were made");
  for (const [index, entry] of history.entries())
    if (index > 0) assert.equal(entry.fromState, history[index - 1]?.toState, "each begins where the last ended");
  if (history.length > 0) assert.equal(history.at(-1)?.toState, state, "the last is the row's state");
}

function inWords({ fromState, event, toState }: Omit<Moved, "entity">): string {
  return `${fromState} ${event} ${toState}`;
}
