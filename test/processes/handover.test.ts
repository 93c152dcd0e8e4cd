import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Fault } from "../../lib/fault.ts";
import { openLog } from "../../lib/log.ts";
import { resumeLater } from "../../processes/handover.ts";
import { serve } from "../../processes/serve.ts";
import { createStillClock } from "../fixtures/clock.ts";
import { eventually } from "../fixtures/eventually.ts";
import { rolesBelow } from "../fixtures/processes.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** A berth whose control can start again from the attempt on that the test names. */
function released(from: number) {
  const clock = createStillClock();
  const counts = { attempts: 0, logged: 0, isHandingOver: false };
  resumeLater({
    resume: async () => {
      if (++counts.attempts < from) throw new Fault("DATA_FOLDER_IN_USE", "Another berth uses the data folder.");
    },
    isHandingOver: () => counts.isHandingOver,
    clock,
    log: { error: () => void counts.logged++ },
  });
  return { clock, counts };
}

t.test("a berth whose successor still holds the data after it failed tries again until it has them", async (t) => {
  const { clock, counts } = released(4);
  await clock.advance(9_000);
  t.equal(counts.attempts, 0, "the caller puts the old program back first");
  await clock.advance(60_000);
  t.strictSame(counts, { attempts: 4, logged: 3, isHandingOver: false });
});

t.test("an upgrade that begins meanwhile is not disturbed", async (t) => {
  const { clock, counts } = released(4);
  await clock.advance(10_000);
  counts.isHandingOver = true;
  await clock.advance(60_000);
  t.equal(counts.attempts, 1);
});

/** A process of berth that does nothing; control dies at its start while there is the file `broken`. */
const ROLE = `
import { existsSync } from "node:fs";
const isControl = process.argv[2] === "control";
if (isControl && existsSync(new URL("broken", import.meta.url))) process.exit(1);
process.on("disconnect", () => process.exit(1));
process.on("message", ({ kind }) => {
  if (kind === "listen" && !isControl) process.send({ kind: "ready" });
  if (kind === "end") process.exit(0);
});
if (isControl) process.send({ kind: "ready" });
`;

t.test("a berth whose control died again and again after a failed handover has one control process when it goes on", async (t) => {
  const folder = tempFolder(t);
  const [script, broken] = [join(folder, "role.mjs"), join(folder, "broken")];
  writeFileSync(script, ROLE);
  const clock = createStillClock();
  const none = { registry: undefined, watchdogMs: undefined, drainMs: 0 };
  const served = await serve({
    ...none,
    script,
    env: process.env,
    host: "127.0.0.1",
    port: 0,
    workers: 1,
    clock,
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => served.stop());
  await served.ready;
  const controls = () => rolesBelow(process.pid)["control"]?.length ?? 0;
  await served.release(() => {});
  t.equal(controls(), 0);

  writeFileSync(broken, "");
  let failure: unknown;
  served.resume().catch((error: unknown) => (failure = error));
  await eventually("it gives up", async () => {
    await clock.advance(10_000);
    return failure;
  });
  t.equal(controls(), 0);
  t.match(failure, { code: "INTERNAL", message: /control process ended with code 1/ });
  rmSync(broken);
  await served.resume();
  await clock.advance(60_000);
  t.equal(controls(), 1);
});
