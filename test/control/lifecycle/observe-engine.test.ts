import t from "tap";
import { turns } from "../../fixtures/clock.ts";
import { newContainer, newImage, openLifecycleFixture } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const MANY = 10_000;
const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, onDemand: true };

/** The cost is counted in engine calls and writes, which no machine's speed changes. */
t.test(
  "ten thousand containers that sleep cost the engine a list, at the start and in each period, and a requested one starts among them",
  async (t) => {
    const stand = await openLifecycleFixture(t, { start: false });
    const store = stand.store();
    const now = stand.clock.now();
    await store.transaction(async () => {
      for (let index = 0; index < MANY; index++) {
        const name = `app-${index}`;
        const image = { ...newImage(name, now), state: "READY" as const, resolvedId: `memory:${name}`, exposed: [80], logs: "x".repeat(500) };
        await store.images.insert(image);
        await store.containers.insert({ ...newContainer(image, CONFIG, now), lastLogs: "y".repeat(2_000) });
      }
    });
    const driverCalls = () => stand.world.calls.filter((call) => call !== "events");
    const begun = performance.now();
    await stand.restart();
    await eventually("listed", () => stand.world.callCount("list") >= 1);
    await turns(20);
    t.comment(`up after ${Math.round(performance.now() - begun)} ms`);
    // The stand itself begins with a berth that has not started; this one hears that events are connected, too.
    t.ok(
      driverCalls().every((call) => call === "list"),
      driverCalls().slice(0, 5).join(),
    );
    t.ok(driverCalls().length <= 2);

    const before = driverCalls().length;
    const passing = performance.now();
    await stand.clock.advance(30_000);
    t.comment(`a period takes ${Math.round((performance.now() - passing) / 3)} ms`);
    t.same(driverCalls().slice(before), ["list", "list", "list"]);

    const { id } = await stand.publish({ name: "wanted" });
    await stand.start(id);
    t.equal(stand.world.running().length, 1);
  },
);
