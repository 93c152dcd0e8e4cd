import t from "tap";
import type { Driver } from "../../../drivers/driver.ts";
import { LIFECYCLE_LIMITS } from "../../../control/lifecycle/limits.ts";
import { turns } from "../../fixtures/still-clock.ts";
import { openStand, until, USER } from "./stand.ts";

const COUNT = 200;

/** Counts how many calls a driver has at the same time. */
function counting() {
  const seen = { open: 0, most: 0 };
  const counted = async <T>(task: () => Promise<T>): Promise<T> => {
    seen.most = Math.max(seen.most, ++seen.open);
    try {
      return await task();
    } finally {
      seen.open--;
    }
  };
  const wrap = (driver: Driver): Driver => ({
    ...driver,
    resolve: (source, call) => counted(() => driver.resolve(source, call)),
    deploy: (spec, call) => counted(() => driver.deploy(spec, call)),
    destroy: (service, call) => counted(() => driver.destroy(service, call)),
    inspect: (service, call) => counted(() => driver.inspect(service, call)),
    list: (call) => counted(() => driver.list(call)),
  });
  return { seen, wrap };
}

t.test(
  "two hundred containers that are wished at once are started each once, a bounded number at a time; then a pass asks for one list",
  async (t) => {
    const { seen, wrap } = counting();
    const stand = await openStand(t, { driver: wrap });
    const all = Array.from({ length: COUNT }, (_, n) => stand.publish({ name: `many-${n}` }));
    await until("all images are ready", () => all.every(({ imageId }) => stand.image(imageId).state === "READY"));
    for (const { id } of all) stand.lifecycle().wishStart(id, USER);
    await until("all have started", () => all.every(({ id }) => stand.row(id).state === "STARTED"));
    t.ok(seen.most > 8 && seen.most <= LIFECYCLE_LIMITS.concurrency, `${seen.most} calls at a time`);
    t.ok(
      all.every(({ service }) => stand.world.asked(`deploy ${service}`) === 1),
      "each was started once",
    );

    for (const when of ["quiet", "after a restart"]) {
      if (when !== "quiet") await stand.restart();
      await turns(200);
      stand.world.calls.length = 0;
      await stand.clock.advance(LIFECYCLE_LIMITS.sweepMs);
      await turns(200);
      t.strictSame(stand.world.calls, ["list"], when);
    }
    t.equal(stand.world.running().length, COUNT);
  },
);
