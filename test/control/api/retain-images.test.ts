import t from "tap";
import { createRegistryRetention } from "../../../control/api/retain-images.ts";
import { createAuditLog } from "../../../control/store/audit.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

t.test("rules are applied once a day, also after the clock was set back by days", async (t) => {
  const clock = createStillClock(Date.UTC(2026, 0, 10, 3));
  const store = await openStore({ folder: tempFolder(t), clock });
  t.teardown(() => store.close());
  let runs = 0;
  const retention = createRegistryRetention({
    rules: ["* keep=1"],
    hour: 3,
    store,
    apply: async () => ({ dryRun: false, endedOn: "", removed: 0, kept: ++runs, images: [], failures: [] }),
    garbage: { status: async () => undefined, start: async () => undefined },
    audit: createAuditLog({ audit: store.audit, keepMs: 1_000 * DAY_MS, clock }),
    clock,
    log: openLog({ level: "silent", name: "test" }),
  });
  t.teardown(() => retention.close());
  retention.start();
  const until = (count: number) =>
    eventually(`run ${count}`, async () => {
      await clock.advance(HOUR_MS);
      return runs >= count;
    });
  await until(1);
  await until(2);
  const second = clock.now();
  t.equal(new Date(second).getUTCDate(), 11);
  clock.jump(-5 * DAY_MS);
  await until(3);
  t.ok(clock.now() < second, "not when the time of the second run comes again");
  t.equal(runs, 3);
});
