import assert from "node:assert/strict";
import * as fc from "fast-check";
import { CONTAINER_TABLE, type ContainerEvent, nextState } from "../../../control/model/states.ts";
import type { Container } from "../../../control/model/entities.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import { turns } from "../../fixtures/clock.ts";
import { hinder, judge, type Model, unhinder } from "./model.ts";
import { type App, APP_NAMES, type Folder, FOLDERS, type Left, type Real, SHAPES, USER } from "./real.ts";
import { DRIVER_CALLS, MISHAPS } from "./scripted-driver.ts";
import { settle } from "./settle.ts";

type Command = fc.AsyncCommand<Model, Real>;

function command(name: string, run: (model: Model, real: Real) => unknown, possible: (model: Model) => boolean = () => true): Command {
  return {
    check: possible,
    run: async (model, real) => {
      judge(model, real);
      await run(model, real);
      judge(model, real);
    },
    toString: () => name,
  };
}

const of = (name: string, run: (folder: Folder, model: Model, real: Real) => unknown) =>
  fc.constantFrom(...FOLDERS).map((folder) =>
    command(
      `${name} ${folder}`,
      (model, real) => run(folder, model, real),
      (model) => model.published[folder] !== undefined,
    ),
  );

const rowOf = (real: Real, folder: Folder) => real.row(folder) as Container;

/** Nothing else moves meanwhile: what the command finds is what it works on. */
function atOnce<R>(model: Model, real: Real, act: () => Promise<R>): Promise<R> {
  return real.transaction(() => {
    judge(model, real);
    return act();
  });
}

/** The row goes along the table, or stays where that has no such edge: only the desired state changes. */
async function follows(folder: Folder, real: Real, event: ContainerEvent, act: (id: string) => Promise<Container>): Promise<void> {
  const { id, state } = rowOf(real, folder);
  assert.equal((await act(id)).state, nextState(CONTAINER_TABLE, state, event) ?? state, `${folder}: ${event} in ${state}`);
}

const start = of("start", (folder, model, real) =>
  atOnce(model, real, () => {
    model.desired.set(folder, { runs: true, by: "user" });
    if (rowOf(real, folder).state !== "STARTED") unhinder(model, folder);
    return follows(folder, real, "startWished", (id) => real.lifecycle().requestStart(id, USER.id));
  }),
);

const stop = of("stop", (folder, model, real) =>
  atOnce(model, real, () => {
    model.desired.set(folder, { runs: false, by: "user" });
    return follows(folder, real, "stopWished", (id) => real.lifecycle().requestStop(id, USER.id));
  }),
);

/** A request that no gateway could send on: it wakes every stopped on-demand container, and a plain one only if the system stopped it. */
const request = of("request", async (folder, model, real) => {
  let refusal: FaultCode | undefined;
  const woken = atOnce(model, real, async () => {
    const row = rowOf(real, folder);
    const failed = row.state === "ERROR" && (!SHAPES[folder].onDemand || row.notBefore > real.clock().now());
    const forUser = row.desiredInstances === 0 && row.stopFor === "user" && !SHAPES[folder].onDemand;
    if (failed || forUser) refusal = (failed ? row.fault?.code : undefined) ?? "CONTAINER_STOPPED";
    else {
      if (row.desiredInstances === 0) model.desired.set(folder, { runs: true, by: "user" });
      if (row.state !== "STARTED") unhinder(model, folder);
    }
    try {
      await real.lifecycle().wake(row.id, USER.id);
    } finally {
      if (refusal !== undefined) assert.deepEqual(await real.find(row.id), row, "nor changed");
    }
  });
  const error: unknown = await woken.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (refusal === undefined) assert.equal(error, undefined);
  else assert.ok(error instanceof Fault && error.code === refusal, `${folder} is not woken`);
});

const use = of("use", (folder, _model, real) => {
  const { id, state } = rowOf(real, folder);
  if (state === "STARTED") real.open.set(id, 1);
  return real.report();
});
const endOfUse = of("end of use", (folder, _model, real) => {
  real.open.delete(rowOf(real, folder).id);
  return real.report();
});
/** It says that it is busy, and then gets no traffic for longer than it may be idle; one that does not run says nothing. */
const busy = of("busy", async (folder, model, real) => {
  const isBusy = await atOnce(model, real, async () => {
    const { id, state } = rowOf(real, folder);
    if (!["STARTED", "PENDING_SYSTEM_STOP"].includes(state)) return false;
    model.busy.set(id, (await real.lifecycle().setBusy(id, 150_000)).busyUntil);
    return true;
  });
  if (isBusy) await real.clock().advance(65_000);
});
const validate = of("revalidate", (folder, _model, real) => real.lifecycle().requestValidation(rowOf(real, folder).imageId, USER.id));

const behindItsBack = fc.oneof(
  of("foreign start", (folder, model, real) => {
    const { service, id, generation } = rowOf(real, folder);
    hinder(model);
    // It starts what listens; an image that does not exist cannot run.
    if (model.published[folder]?.app === "good") real.startBehind({ service, container: id, generation });
  }),
  fc.constant(command("foreign start of what was removed", (_, real) => real.lastRemoved() && real.startBehind(real.lastRemoved() as Left))),
  of("kill", (folder, model, real) => {
    hinder(model);
    return real.world.kill(rowOf(real, folder).service);
  }),
  of("take away", (folder, model, real) => {
    hinder(model);
    real.world.vanish(rowOf(real, folder).service);
  }),
  of("freeze", (folder, model, real) => {
    hinder(model);
    real.world.freeze(rowOf(real, folder).service, true);
  }),
  of("unfreeze", (folder, model, real) => {
    hinder(model);
    real.world.freeze(rowOf(real, folder).service, false);
  }),
  of("move", (folder, model, real) => {
    hinder(model);
    return real.world.moveAway(rowOf(real, folder).service);
  }),
);

/** `undefined`: its package has it no longer; `same`: published again as it is. */
const publish = fc
  .tuple(fc.constantFrom(...FOLDERS), fc.constantFrom<App | "same" | undefined>(...APP_NAMES, "good", "good", "same", undefined))
  .map(([folder, app]) =>
    command(`publish ${folder} as ${app}`, async (model, real) => {
      const before = model.published[folder];
      const after = app === "same" ? before : app && { app, version: (versions.get(model) ?? 0) + 1 };
      if (after) {
        versions.set(model, Math.max(versions.get(model) ?? 0, after.version));
        model.published[folder] = after;
        if (!before) model.desired.set(folder, { runs: false, by: SHAPES[folder].onDemand ? "system" : "user" });
        if (app !== "good" && app !== "portless") model.hindered.add(folder);
      } else {
        delete model.published[folder];
        model.desired.delete(folder);
        model.hindered.delete(folder);
      }
      await real.publish(model.published);
    }),
  );
/** No two versions of a life are the same one. */
const versions = new WeakMap<Model, number>();

const engine = fc.oneof(
  fc.boolean().map((away) =>
    command(`engine ${away ? "away" : "back"}`, (model, real) => {
      if (away) hinder(model);
      real.world.away = away;
    }),
  ),
  fc.boolean().map((deaf) => command(`events ${deaf ? "lost" : "received"}`, (_, real) => void (real.world.deaf = deaf))),
  fc.tuple(fc.constantFrom(...DRIVER_CALLS), fc.constantFrom(...MISHAPS)).map(([callName, mishap]) =>
    command(`next ${callName} ${mishap}`, (model, real) => {
      hinder(model);
      real.script.next(callName, mishap);
    }),
  ),
);

const time = fc.constantFrom(25, 1_000, 6_000, 31_000, 65_000, 310_000).map((ms) => command(`${ms} ms`, (_, real) => real.clock().advance(ms)));
const jump = fc
  .constantFrom(-3_600_000, -700_000, -5_000, 5_000, 700_000, 3_600_000)
  .map((ms) => command(`clock set by ${ms} ms`, (_, real) => real.clock().jump(ms)));
const moment = fc.integer({ min: 1, max: 12 }).map((count) => command(`${count} turns`, () => turns(count)));
const report = fc.constant(command("gateway reports", (_, real) => real.report()));
const restart = fc.constantFrom(1, 5_000, 600_000).map((downMs) =>
  command(`killed, up after ${downMs} ms`, async (model, real) => {
    const before = JSON.stringify(FOLDERS.map((folder) => [real.row(folder)?.id, real.row(folder)?.desiredInstances, real.row(folder)?.stopFor]));
    await real.restart(downMs);
    if (model.judged === real.moves.length)
      assert.equal(
        JSON.stringify(FOLDERS.map((folder) => [real.row(folder)?.id, real.row(folder)?.desiredInstances, real.row(folder)?.stopFor])),
        before,
      );
  }),
);
const settled = fc.constant(command("all settles", settle));

/** What may befall both lifecycles, in the order in which things are likely. */
export const COMMANDS: fc.Arbitrary<Command>[] = [
  publish,
  start,
  stop,
  request,
  moment,
  time,
  start,
  request,
  use,
  endOfUse,
  busy,
  report,
  behindItsBack,
  engine,
  engine,
  restart,
  jump,
  validate,
  settled,
];
