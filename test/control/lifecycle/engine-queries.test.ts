import t from "tap";
import { turns } from "../../fixtures/clock.ts";
import { openLifecycleFixture, type LifecycleFixture } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const OTHER = "66666666-6666-4666-8666-666666666666";
const GATEWAY = "gateway";

/** What was requested of the orchestrator since the last call. */
async function callsOf(stand: LifecycleFixture): Promise<string[]> {
  await turns(200);
  return stand.world.calls.splice(0);
}

t.test("a start makes one call to the orchestrator, also where its events and a sweep come meanwhile", async (t) => {
  const release = Promise.withResolvers<void>();
  const sweepMs = 5_000;
  const stand = await openLifecycleFixture(t, {
    // Of a start that takes twice as long, berth reads where it listens.
    limits: { sweepMs },
    driver: (driver) => ({
      ...driver,
      deploy: async (spec, call) => {
        const deployed = await driver.deploy(spec, call);
        await release.promise;
        return deployed;
      },
    }),
  });
  const { id, imageId, service } = await stand.publish({ config: { onDemand: true } });
  await eventually("the image is ready", () => stand.image(imageId).state === "READY");
  await callsOf(stand);
  await stand.lifecycle().wake(id, OTHER);
  await eventually("it runs", () => stand.world.running().length === 1);
  await stand.clock.advance(sweepMs);
  await turns(200);
  release.resolve();
  await stand.reaches(id, "STARTED");
  t.strictSame(await callsOf(stand), [`deploy ${service}`, "list"]);
});

t.test("the end of a container's use is no reason to query the orchestrator, and it idles all the same", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id, service } = await stand.publish({ config: { onDemand: true, shutdownTimeoutMinutes: 1 } });
  await stand.lifecycle().wake(id, OTHER);
  await stand.reaches(id, "STARTED");
  const seq = stand.lifecycle().seq();
  stand.lifecycle().gatewayJoined(GATEWAY, seq);
  await callsOf(stand);
  for (let times = 0; times < 20; times++) {
    for (const open of [1, 0])
      await stand.lifecycle().recordUse({ gateway: GATEWAY, seq, uses: [{ id, open, streams: open, lastActive: stand.clock.now() }] });
    await turns(20);
  }
  t.strictSame(await callsOf(stand), []);
  stand.lifecycle().gatewayLeft(GATEWAY);
  await stand.clock.advance(60_000);
  await stand.reaches(id, "SYSTEM_STOPPED");
  t.ok((await callsOf(stand)).includes(`destroy ${service}`));
});

t.test("a definition of a container that rests is no reason to query the orchestrator", async (t) => {
  const stand = await openLifecycleFixture(t);
  await callsOf(stand);
  const all = await Promise.all(
    Array.from({ length: 20 }, async (_, n) => stand.publish({ name: `rests-${n}`, config: { onDemand: true }, state: "SYSTEM_STOPPED" })),
  );
  await eventually("all images are ready", () => all.every(({ imageId }) => stand.image(imageId).state === "READY"));
  t.strictSame(
    (await callsOf(stand)).filter((call) => !call.startsWith("resolve ")),
    [],
  );
});

t.test("a gateway that leaves after the lifecycle and the store were closed needs neither", async (t) => {
  const stand = await openLifecycleFixture(t);
  const { id } = await stand.publish();
  const seq = stand.lifecycle().seq();
  stand.lifecycle().gatewayJoined(GATEWAY, seq);
  await stand.lifecycle().recordUse({ gateway: GATEWAY, seq, uses: [{ id, open: 1, streams: 1, lastActive: stand.clock.now() }] });
  await stand.lifecycle().close();
  await stand.store().close();
  t.doesNotThrow(() => stand.lifecycle().gatewayLeft(GATEWAY));
});
